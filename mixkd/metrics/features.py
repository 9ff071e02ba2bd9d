"""How well a network's features part the classes (as in the paper's Fig. 7 and 8)."""

import numpy as np
from sklearn.cluster import KMeans
from sklearn.manifold import TSNE


def clusters(features: np.ndarray, classes: int, seed: int) -> np.ndarray:
    """Return the cluster of each image, int64 [n], by its features, float [n, d].

    It is the best of ten starts of k-means, with a cluster a class.
    """
    clusters: np.ndarray = KMeans(classes, n_init=10, random_state=seed).fit_predict(features)
    return clusters.astype(np.int64)


def embedding(features: np.ndarray, seed: int) -> np.ndarray:
    """Return t-SNE coordinates, float32 [n, 2], of features [n, d] of 5 images or more.

    They are for looking at, not for measuring.
    """
    perplexity = min(30.0, (len(features) - 1) / 3)
    tsne = TSNE(perplexity=perplexity, init="pca", random_state=seed)
    coordinates: np.ndarray = tsne.fit_transform(features)
    return coordinates.astype(np.float32)
