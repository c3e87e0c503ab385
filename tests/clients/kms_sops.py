"""sops (its own binary, the Go SDK): a file is encrypted for a key's ARN with a context, and opened without naming the key."""

import json
import pathlib
import subprocess
import sys
import tempfile

import boto3

kms = boto3.client("kms")
arn = kms.create_key()["KeyMetadata"]["Arn"]
sops = str(pathlib.Path(sys.executable).with_name("sops"))
with tempfile.TemporaryDirectory() as directory:
    secret = pathlib.Path(directory) / "secret.json"
    secret.write_text(json.dumps({"password": "correct horse"}))
    run = lambda *arguments: subprocess.run([sops, *arguments], check=True, capture_output=True, text=True).stdout
    sealed = run("encrypt", "--kms", arn, "--encryption-context", "app:web", str(secret))
    assert "correct horse" not in sealed and arn in sealed
    secret.write_text(sealed)
    assert json.loads(run("decrypt", str(secret))) == {"password": "correct horse"}
print("round trip")
