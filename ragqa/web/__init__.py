"""The local web page and JSON API of one corpus: `ragqa serve`. A face without logic of its own."""
