"""What is minimised and how a step is made, on whatever holds the weights: Eq. 10–13, DAMSM, the moving average."""
