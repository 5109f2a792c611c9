"""The face that other programs' models see: an MCP server over one corpus."""
