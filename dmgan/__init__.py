"""DM-GAN: Dynamic Memory Generative Adversarial Networks for Text-to-Image Synthesis (Zhu et al., CVPR 2019).

The paper in plain PyTorch: networks, objectives, metrics and one training step. Nothing here imports Ray or
DeepSpeed; what they add is in `cluster`.
"""

__version__ = "0.2.0"
