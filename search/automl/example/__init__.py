"""The embedded default: a small residual network and images of Fashion-MNIST, both shipped."""
