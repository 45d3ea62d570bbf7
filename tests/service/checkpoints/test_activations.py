from sigrl.service.checkpoints.activations import Activation, Activations
from sigrl.service.database.database import Database
from sigrl.service.settings import Settings


def test_the_last_activation_outlives_the_process_and_its_number_grows(stored: Settings) -> None:
    database = Database.open(stored)
    activations = Activations(database)
    assert activations.last() is None
    first = activations.record("sha256:a", None, None, by_settings=True)
    second = activations.record("sha256:b", "two", "/bundles/a", by_settings=False)
    assert second > first > 0
    database.close()

    database = Database.open(stored)
    expected = Activation(second, "sha256:b", "two", "/bundles/a", by_settings=False)
    assert Activations(database).last() == expected
    database.close()
