"""Numbers from models, codes and clusters."""

import warnings

import numpy as np
import torch
from scipy.linalg import subspace_angles
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import trustworthiness
from sklearn.metrics import confusion_matrix, normalized_mutual_info_score
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from mnist_ae_utils import corruptions, machine, pictures, training

BATCH = 250  # the feature maps of a thousand images fall out of a CPU's cache: up to twice the time for each


def in_batches(function, inputs):
    """``function(inputs)`` computed 250 rows at a time, without gradients."""
    with torch.inference_mode():
        return torch.cat([function(batch) for batch in inputs.split(BATCH)])


def encode(autoencoder, images):
    """Codes (n, latent_dim) of `images` (n, 1, 28, 28), by the autoencoder in evaluation mode."""
    return in_batches(autoencoder.eval().encoder, images)


def reconstruct(autoencoder, images):
    """Reconstructions (n, 1, 28, 28) of `images`, by the autoencoder in evaluation mode."""
    return in_batches(autoencoder.eval(), images)


def reconstruction_error(autoencoder, images):
    """Squared error summed over the 784 pixels, averaged over the images (PCA with 30 components: 13.87)."""
    return image_errors(reconstruct(autoencoder, images), images).mean().item()


def image_errors(reconstructions, images):
    """Squared error of each image, summed over its pixels: a tensor (n,)."""
    return (reconstructions - images).square().flatten(1).sum(1)


def elbo(vae, images, seed=0):
    """Evidence lower bound in nats, averaged over `images`, which are binarized by `seed`; one code drawn for each."""

    def bound(batch):
        log_likelihood, kl = training.elbo_terms(vae, corruptions.binarize(batch))
        return log_likelihood - kl.sum(1)

    vae.eval()
    with torch.random.fork_rng():  # else every epoch would repeat the noise of the one before
        torch.manual_seed(seed)
        return in_batches(bound, images).mean().item()


def predict(classifier, inputs):
    """Predicted classes (n,), by the classifier in evaluation mode."""
    return in_batches(classifier.eval(), inputs).argmax(1)


def predict_picture(classifier, picture):
    """What a classifier of images takes a single picture for, such as a photo of a digit that you wrote.

    `classifier` takes images (n, 1, 28, 28) to logits (n, 10); for the hybrid, ``nn.Sequential(autoencoder.encoder,
    head)``. `picture` is a path, array or PIL image of one digit on plain paper; `pictures.frame` puts it into MNIST's
    frame. Returns the digit (int), the classes' probabilities (10,) by the softmax, and the image (1, 28, 28) that the
    classifier saw: ``plots.digits([image])``. Nothing here says that the picture shows no digit at all.
    """
    image = pictures.frame(picture)
    device = next((parameter.device for parameter in classifier.parameters()), "cpu")
    probabilities = class_probabilities(classifier, [image[None].to(device)])[0].cpu()
    return int(probabilities.argmax()), probabilities, image


def class_probabilities(classifier, views):
    """Class probabilities (n, n_classes), the mean over `views`: tensors of the same images, seen differently."""
    return torch.stack([in_batches(classifier.eval(), images).softmax(1) for images in views]).mean(0)


def accuracy(classifier, inputs, labels):
    """Fraction of `inputs` whose predicted class is the label, in [0, 1]."""
    return (predict(classifier, inputs) == labels).float().mean().item()


def linear_probe(train_codes, train_labels, test_codes, test_labels):
    """Test accuracy in [0, 1] of multinomial logistic regression on standardized codes (scikit-learn)."""
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    with threadpool_limits(1):  # the matrices are so small that threads would spend their time waiting for each other
        return _score(probe, train_codes, train_labels, test_codes, test_labels)


def nearest_neighbors(train_codes, train_labels, test_codes, test_labels, k=5):
    """Test accuracy in [0, 1] of the majority vote among the `k` nearest training codes (Euclidean)."""
    return _score(KNeighborsClassifier(n_neighbors=k), train_codes, train_labels, test_codes, test_labels)


def _score(estimator, train_codes, train_labels, test_codes, test_labels):
    estimator.fit(_numpy(train_codes), _numpy(train_labels))
    return float(estimator.score(_numpy(test_codes), _numpy(test_labels)))


def _numpy(x):
    return np.asarray(x.detach().cpu() if isinstance(x, torch.Tensor) else x)


def cluster(codes, n_clusters=10, seed=0):
    """k-means cluster (n,) of each code, best of ten starts."""
    with threadpool_limits(2):  # as many on every machine: in which order means are summed can move single codes
        return KMeans(n_clusters, n_init=10, random_state=seed).fit_predict(_numpy(codes))


def clustering_accuracy(labels, clusters):
    """Accuracy in [0, 1] of the best one-to-one assignment of clusters to classes (Hungarian algorithm).

    Source: Yang et al. (2010), "Image clustering using local discriminant models and global integration".
    """
    counts = confusion_matrix(_numpy(labels), _numpy(clusters))
    rows, columns = linear_sum_assignment(counts, maximize=True)
    return float(counts[rows, columns].sum() / counts.sum())


def mutual_information(labels, clusters):
    """Normalized mutual information of labels and clusters, in [0, 1] (scikit-learn, arithmetic mean)."""
    return float(normalized_mutual_info_score(_numpy(labels), _numpy(clusters)))


def nearest_codes(codes, k):
    """Indices and Euclidean distances, both (n, k), of each code's nearest ones; the first is the code itself."""
    return NearestNeighbors(n_neighbors=k, algorithm="brute").fit(codes).kneighbors(codes)[::-1]  # distances come first


def umap_embedding(codes, seed=0, n_components=2, min_dist=0.1, neighbors=None):
    """UMAP embedding (n, n_components) of `codes` (n, latent_dim); seeded, hence on one thread.

    `min_dist`, in [0, 1], says how closely points may lie: 0.1 for a picture, 0 to look for clusters. `neighbors` are
    indices and distances (n, k) of each code's nearest ones, itself first: 15 of them unless told. Source: McInnes,
    Healy & Melville (2018), "UMAP: Uniform manifold approximation and projection".
    """
    machine.let_numba_compile()
    from umap import UMAP  # here, because compiling it takes seconds that most users of this module do not need

    codes = _numpy(codes)
    if neighbors is None:  # the search that UMAP brings along takes longer to compile than this one takes to finish
        neighbors = nearest_codes(codes, 15)
    known = {"n_neighbors": neighbors[0].shape[1], "precomputed_knn": neighbors}
    with warnings.catch_warnings():  # that with known neighbors it could not embed further points
        warnings.filterwarnings("ignore", "precomputed_knn", UserWarning)
        # 200 passes over the edges, UMAP's own choice for many points; for up to 10,000 it would make 500
        reducer = UMAP(n_components=n_components, n_epochs=200, min_dist=min_dist, random_state=seed, n_jobs=1, **known)
        return reducer.fit_transform(codes)


def embedding_trustworthiness(codes, embedding, n_neighbors=15):
    """How far the neighbors in the embedding are neighbors of the codes too, in [0, 1] (scikit-learn).

    Measured on the first 2,000 rows: the computation needs all pairs.
    """
    return float(trustworthiness(_numpy(codes)[:2000], _numpy(embedding)[:2000], n_neighbors=n_neighbors))


def principal_angles(a, b):
    """Angles in degrees between the subspaces spanned by the columns of `a` and `b`, largest first (SciPy)."""
    return np.degrees(subspace_angles(_numpy(a), _numpy(b)))
