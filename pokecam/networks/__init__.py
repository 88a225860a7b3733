"""The networks: backbones, classifier, starting weights, device, several processes."""
