"""What Ray and LanceDB give on this machine: `make scale` makes the table of docs/measurements.md."""
