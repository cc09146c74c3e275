import keras
from watch import digits, note, training

(x, y), valid = digits()


def build(units, dropout, rate, activation):
    layers = keras.layers
    model = keras.Sequential([layers.Input((64,)), layers.Dense(units, activation=activation), layers.Dropout(dropout)])
    model.add(layers.Dense(10, activation="softmax"))
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
    return model


class Note(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        note(loss=logs["val_loss"])


params = {"units": 32, "dropout": 0.2, "rate": 1e-3, "activation": "relu"}
callbacks = [Note()]
with training():
    build(**params).fit(x, y, 64, 27, validation_data=valid, verbose=0, callbacks=callbacks)
