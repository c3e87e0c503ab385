"""What was encrypted and signed before a backup, asked for again after its restore.

usage: kms_backup.py make FILE | check FILE | sealed FILE
"""
import base64
import json
import sys

from botocore.exceptions import ClientError
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from kms_common import done, kms

what, file = sys.argv[1:]
client = kms()
CONTEXT = {"purpose": "backup"}


def make():
    key = client.create_key()["KeyMetadata"]["KeyId"]
    client.create_alias(AliasName="alias/kept", TargetKeyId=key)
    signer = client.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
    mac = client.create_key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")["KeyMetadata"]["KeyId"]
    tags = [{"TagKey": "signet:custody", "TagValue": "token"}]
    token = client.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY", Tags=tags)["KeyMetadata"]["KeyId"]
    blob = client.encrypt(KeyId=key, Plaintext=b"kept", EncryptionContext=CONTEXT)["CiphertextBlob"]
    made = {
        "key": key,
        "signer": signer,
        "mac": mac,
        "token": token,
        "blob": base64.b64encode(blob).decode(),
        "public": base64.b64encode(client.get_public_key(KeyId=signer)["PublicKey"]).decode(),
        "tag": base64.b64encode(client.generate_mac(KeyId=mac, Message=b"m", MacAlgorithm="HMAC_SHA_256")["Mac"]).decode(),
    }
    with open(file, "w") as out:
        json.dump(made, out)
    done("make")


def read():
    with open(file) as kept:
        return json.load(kept)


def check():
    made = read()
    opened = client.decrypt(CiphertextBlob=base64.b64decode(made["blob"]), EncryptionContext=CONTEXT)
    assert opened["Plaintext"] == b"kept" and opened["KeyId"].endswith(made["key"]), opened
    done("decrypt")
    signed = client.sign(KeyId=made["signer"], Message=b"new", SigningAlgorithm="ECDSA_SHA_256")["Signature"]
    load_der_public_key(base64.b64decode(made["public"])).verify(signed, b"new", ec.ECDSA(hashes.SHA256()))
    done("sign")
    tag = client.generate_mac(KeyId=made["mac"], Message=b"m", MacAlgorithm="HMAC_SHA_256")["Mac"]
    assert tag == base64.b64decode(made["tag"])
    done("mac")
    assert client.describe_key(KeyId="alias/kept")["KeyMetadata"]["KeyId"] == made["key"]
    done("alias")


def code_of(call, **members):
    try:
        call(**members)
    except ClientError as error:
        return error.response["Error"]["Code"], error.response["Error"]["Message"]
    return None, None


def sealed():
    made = read()
    for call, members in [
        (client.decrypt, {"CiphertextBlob": base64.b64decode(made["blob"]), "EncryptionContext": CONTEXT}),
        (client.sign, {"KeyId": made["signer"], "Message": b"new", "SigningAlgorithm": "ECDSA_SHA_256"}),
        (client.create_key, {}),
        (client.list_keys, {}),
        (client.enable_key, {"KeyId": made["token"]}),
    ]:
        code, message = code_of(call, **members)
        assert code == "KMSInternalException" and "sealed" in message, (code, message)
    done("sealed")


{"make": make, "check": check, "sealed": sealed}[what]()
