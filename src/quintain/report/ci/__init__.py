"""What CI systems read of a run: JUnit, SARIF and a job summary, each one function from a run to text."""
