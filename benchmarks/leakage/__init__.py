"""What models leak: how well attacks copy them and what they remember, measured."""
