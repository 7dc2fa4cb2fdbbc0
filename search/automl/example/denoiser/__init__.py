"""The second example: a small convolutional denoiser of video frames, and pictures to judge it."""
