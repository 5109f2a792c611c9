"""`ragqa doctor`: what is installed, whether it works, licences, and the proof that nothing leaves."""
