"""Train an image classifier in two phases: train a new head on a frozen network, then fine-tune the whole network.

pip install keras torch scikit-learn      (or another backend of Keras)
"""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
from sklearn.datasets import load_digits

HEAD_EPOCHS, ALL_EPOCHS = 3, 9


def convolutions() -> keras.Model:
    """Return the part of the network that is transferred: images to features."""
    return keras.Sequential(
        [
            keras.layers.Input((8, 8, 1)),
            keras.layers.Conv2D(8, 3, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(16, 3, padding="same", activation="relu"),
            keras.layers.Flatten(),
        ]
    )


def pretrain(x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    """Return weights to transfer, trained on the digits 0 to 4."""
    keras.utils.set_random_seed(0)
    body = convolutions()
    model = keras.Sequential([body, keras.layers.Dense(5, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x, y, epochs=5, verbose=0)
    return body.get_weights()


def compile_model(model: keras.Model, learning_rate: float) -> None:
    """Compile a model; Keras requires this after layers were frozen or unfrozen."""
    model.compile(keras.optimizers.Adam(learning_rate), "sparse_categorical_crossentropy", metrics=["accuracy"])


def main() -> None:
    """Transfer the network from the digits 0 to 4 to a few images of the digits 5 to 9."""
    x, y = load_digits(return_X_y=True)
    x = x.reshape(-1, 8, 8, 1) / 16
    pretrained = pretrain(x[y < 5], y[y < 5])
    x, y = x[y >= 5], y[y >= 5] - 5
    data = {"x": x[:150], "y": y[:150], "validation_data": (x[150:], y[150:]), "batch_size": 16, "verbose": 0}

    keras.utils.set_random_seed(0)
    body = convolutions()
    body.set_weights(pretrained)
    model = keras.Sequential([body, keras.layers.Dropout(0.2), keras.layers.Dense(5, activation="softmax")])

    body.trainable = False
    compile_model(model, learning_rate=1e-3)
    model.fit(**data, epochs=HEAD_EPOCHS)

    body.trainable = True
    compile_model(model, learning_rate=1e-4)
    history = model.fit(**data, initial_epoch=HEAD_EPOCHS, epochs=ALL_EPOCHS)
    print(f"val_accuracy: {history.history['val_accuracy'][-1]:.3f}")


if __name__ == "__main__":
    main()
