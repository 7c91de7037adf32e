"""Object storage that was given no credentials says so, and not which machine it asked for some."""

import pytest
from obstore.exceptions import GenericError

from lmeraser_ray.storage.object_storage.client import as_os_errors


@pytest.mark.parametrize(
    "said",
    [
        "Error performing PUT http://169.254.169.254/latest/api/token in 15ms",
        "Error performing GET http://metadata.google.internal/computeMetadata/v1/instance",
        "Error performing GET http://169.254.169.254/metadata/identity/oauth2/token",
    ],
)
def test_who_has_no_credentials(said: str) -> None:
    with pytest.raises(PermissionError) as found, as_os_errors("s3://bucket", "s3://bucket/x"):
        raise GenericError(f"Generic S3 error: {said} - error sending request\n\nDebug source")
    assert "no credentials for s3://bucket" in str(found.value)
    assert "169.254" not in str(found.value)
    assert "metadata" not in str(found.value)
