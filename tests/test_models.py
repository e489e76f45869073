"""The architectures: shapes, gradients, parameter counts, batch norm folded by hand."""

import pytest
import torch

from mnist_ae_utils import models

AUTOENCODERS = {
    "linear": lambda: models.LinearAutoencoder(5),
    "dense": lambda: models.DenseAutoencoder(5, hidden=(16, 8), activation="GELU"),
    "convolutional": lambda: models.ConvAutoencoder(5, channels=(4, 6)),
    "convolutional without batch norm": lambda: models.ConvAutoencoder(5, channels=(4, 6), batch_norm=False),
}


@pytest.fixture(params=AUTOENCODERS)
def autoencoder(request):
    torch.manual_seed(0)
    return AUTOENCODERS[request.param]()


def test_codes_have_latent_dim_columns_and_reconstructions_the_shape_of_images(autoencoder):
    images = torch.rand(7, 1, 28, 28)
    codes = autoencoder.encoder(images)
    assert codes.shape == (7, 5)
    assert autoencoder.decoder(codes).shape == images.shape
    autoencoder.eval()
    torch.testing.assert_close(autoencoder(images), autoencoder.decoder(autoencoder.encoder(images)))


def test_gradients_reach_every_parameter(autoencoder):
    autoencoder.eval()  # in training, batch norm takes away the effect of the bias before it
    images = torch.rand(32, 1, 28, 28)
    (autoencoder(images) - images).square().sum().backward()
    for name, parameter in autoencoder.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_gradients_reach_encoder_and_classifier_together():
    model = models.EncoderClassifier(models.ConvAutoencoder(5), models.MLPClassifier(5))
    logits = model(torch.rand(16, 1, 28, 28))
    assert logits.shape == (16, 10)
    torch.nn.functional.cross_entropy(logits, torch.arange(16) % 10).backward()
    for part in (model.encoder, model.classifier):
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters())
    assert all(p.grad is None for p in model.decoder.parameters()), "classification does not use the decoder"


@pytest.mark.parametrize("name", ["dense", "convolutional"])
def test_reconstructions_are_between_paper_and_ink(name):
    output = AUTOENCODERS[name]()(10 * torch.randn(20, 1, 28, 28))
    assert output.min() >= 0 and output.max() <= 1


def test_the_articles_basic_autoencoder_has_the_layers_it_names():
    widths = [tuple(p.shape) for p in models.DenseAutoencoder(32).parameters() if p.dim() == 2]
    assert widths == [(128, 784), (32, 128), (128, 32), (784, 128)]
    assert [tuple(p.shape) for p in models.MLPClassifier(32).parameters() if p.dim() == 2] == [(64, 32), (10, 64)]


def test_parameter_count_of_the_linear_autoencoder_in_closed_form():
    assert models.count_parameters(models.LinearAutoencoder(30)) == 784 * 30 + 30 + 30 * 784 + 784


@pytest.mark.parametrize("build", [models.DenseAutoencoder, models.ConvAutoencoder])
def test_dropout_acts_in_training_and_not_in_evaluation(build):
    model, images = build(dropout=0.5), torch.rand(4, 1, 28, 28)
    assert not torch.equal(model(images), model(images))
    model.eval()
    assert torch.equal(model(images), model(images))


def test_batch_norm_folded_into_the_convolution_gives_the_same_outputs():
    torch.manual_seed(0)
    conv, norm = torch.nn.Conv2d(1, 4, 3, stride=2, padding=1), torch.nn.BatchNorm2d(4)
    images = torch.rand(50, 1, 28, 28)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2)
        norm.bias.uniform_(-1, 1)
        for _ in range(5):
            norm(conv(images))  # moves the running statistics
        norm.eval()
        mean, variance = norm.running_mean[:, None, None], norm.running_var[:, None, None]
        by_hand = (conv(images) - mean) / (variance + norm.eps).sqrt()
        by_hand = by_hand * norm.weight[:, None, None] + norm.bias[:, None, None]
        torch.testing.assert_close(models.fold_batch_norm(conv, norm)(images), by_hand)
        torch.testing.assert_close(norm(conv(images)), by_hand)


def test_standardize_keeps_the_geometry_of_the_codes():
    codes = torch.randn(1000, 3) * torch.tensor([1.0, 5.0, 0.1]) + 7
    standardize = models.Standardize(3)
    standardize.fit(codes)
    scaled = standardize(codes)
    torch.testing.assert_close(scaled.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    assert scaled.square().mean().item() == pytest.approx(1, abs=1e-4)
    ratio = torch.pdist(codes[:50]) / torch.pdist(scaled[:50])
    torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio), rtol=1e-3, atol=0)


def test_saved_weights_make_the_same_model_again(autoencoder, tmp_path):
    images = torch.rand(3, 1, 28, 28)
    autoencoder.train()(images)  # moves the running averages of a batch norm
    models.save_weights(autoencoder, tmp_path / "weights.safetensors")
    make = AUTOENCODERS[next(name for name, made in AUTOENCODERS.items() if repr(made()) == repr(autoencoder))]
    loaded = models.load_weights(make, tmp_path / "weights.safetensors")
    assert not loaded.training
    torch.testing.assert_close(loaded(images), autoencoder.eval()(images))


def test_weights_of_another_network_or_a_damaged_file_are_named(tmp_path):
    path = tmp_path / "weights.safetensors"
    models.save_weights(models.LinearAutoencoder(5), path)
    with pytest.raises(ValueError, match=r"(?s)weights\.safetensors does not hold .*size mismatch"):
        models.load_weights(lambda: models.LinearAutoencoder(6), path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="does not hold the weights"):
        models.load_weights(lambda: models.LinearAutoencoder(5), path)
    with pytest.raises(FileNotFoundError):
        models.load_weights(models.LinearAutoencoder, tmp_path / "nowhere")
