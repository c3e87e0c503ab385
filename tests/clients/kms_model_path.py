"""Prints where the installed botocore keeps its KMS service model."""
import pathlib

import botocore

print(next(pathlib.Path(botocore.__file__).parent.glob("data/kms/2014-11-01/service-2.json*")))
