"""The networks: backbones, classifier, pretrained weights, devices, several processes."""
