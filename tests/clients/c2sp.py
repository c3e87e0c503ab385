"""Another implementation of C2SP's transparency logs (aics-tlog, aics-witness), on either side of signet.

    c2sp.py key FILE NAME               makes a log's key, and prints its verifier key
    c2sp.py log URL CA WITNESS FILE NAME   is that log, with signet's witness at URL
    c2sp.py monitor LOG DIR NOTE WITNESS...  reads signet's log from its files, and a checkpoint that witnesses cosigned
"""

import hashlib
import ssl
import sys
import time
import urllib.error
import urllib.request

from aics_tlog import (
    Checkpoint,
    HttpTileReader,
    MerkleTree,
    audit_tiles,
    consistency_proof_from_tiles,
    format_vkey,
    parse_note,
    parse_vkey,
    sign_checkpoint,
    verify_checkpoint,
    verify_consistency,
    vkey_from_ed25519,
)
from aics_tlog.checkpoint import checkpoint_from_note
from aics_witness.feeder import WitnessClient, WitnessRejected, merge_cosignatures
from aics_witness.protocol import format_add_checkpoint_request
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def load(file):
    with open(file, "rb") as stored:
        return Ed25519PrivateKey.from_private_bytes(stored.read())


def key(file, name):
    made = Ed25519PrivateKey.generate()
    with open(file, "wb") as stored:
        stored.write(made.private_bytes_raw())
    print(format_vkey(vkey_from_ed25519(name, made.public_key())))


def demand(holds, what):
    if not holds:
        sys.exit(f"not so: {what}")


class Witness:
    """signet's, as whoever speaks HTTP sees it."""

    def __init__(self, url, context):
        self.url, self.context = url, context

    def ask(self, request):
        try:
            with urllib.request.urlopen(request, context=self.context, timeout=20) as answer:
                return answer.status, answer.headers.get("content-type"), answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers.get("content-type"), error.read()

    def post(self, body):
        return self.ask(urllib.request.Request(f"{self.url}/add-checkpoint", data=body, method="POST"))

    def get(self, origin):
        name = hashlib.sha256(origin.encode()).hexdigest()
        return self.ask(urllib.request.Request(f"{self.url}/{name}/checkpoint"))


def log(url, ca, witness_key, file, name):
    private = load(file)
    log_key = vkey_from_ed25519(name, private.public_key())
    witness_key = parse_vkey(witness_key)
    context = ssl.create_default_context(cafile=ca)
    witness = Witness(url, context)
    tree = MerkleTree([b"entry %d" % index for index in range(700)])
    other = MerkleTree([b"entry %d" % index for index in range(3)] + [b"other %d" % index for index in range(3, 700)])

    def checkpoint(size, of=tree, signer=private, origin=name):
        return sign_checkpoint(Checkpoint(origin, size, of.root(size)), signer, origin).to_bytes()

    def verified(note):
        result = verify_checkpoint(parse_note(note), log_key, [witness_key], 1, max_age_seconds=60)
        demand(result.ok, f"the cosignature verifies: {result}")

    demand(witness.get(name)[0] == 404, "nothing was cosigned")
    # The client keeps the connection, and goes on from what it saw last.
    with WitnessClient(url, witness_key, ssl_context=context) as client:
        for size in [1, 2, 3, 255, 256, 257, 512, 600, 600]:
            line = client.submit(checkpoint(size), tree.consistency_proof)
            verified(merge_cosignatures(checkpoint(size), line))
        for size in (600, 650):
            try:
                client.submit(checkpoint(size, other), other.consistency_proof)
                demand(False, "a split view is refused")
            except WitnessRejected as refused:
                demand(refused.status == 422, f"with 422: {refused}")
    # One that has forgotten what it saw is told.
    with WitnessClient(url, witness_key, ssl_context=context) as client:
        client.submit(checkpoint(620), tree.consistency_proof)

    stranger = Ed25519PrivateKey.generate()
    zero = Checkpoint(name, 0, tree.root(1))
    cases = [
        (400, b"hello", "no request"),
        (400, b"old 0620\n\n" + checkpoint(630), "a size with a zero in front"),
        (400, format_add_checkpoint_request(640, [], checkpoint(630)), "an old size beyond the new one"),
        (404, format_add_checkpoint_request(0, [], checkpoint(5, origin="log.example/unknown")), "an unknown log"),
        (403, format_add_checkpoint_request(620, [], checkpoint(630, signer=stranger)), "a stranger's signature"),
        (422, format_add_checkpoint_request(620, [], checkpoint(630)), "no proof"),
        (422, format_add_checkpoint_request(620, other.consistency_proof(620, 630), checkpoint(630)), "another proof"),
    ]
    for status, body, what in cases:
        answer = witness.post(body)
        demand(answer[0] == status, f"{what} is answered {status}: {answer}")
    for body in (
        format_add_checkpoint_request(0, [], checkpoint(630)),
        format_add_checkpoint_request(600, tree.consistency_proof(600, 630), checkpoint(630)),
        # The size comes first: whose root it is does not matter yet.
        format_add_checkpoint_request(0, [], sign_checkpoint(zero, private, name).to_bytes()),
    ):
        answer = witness.post(body)
        demand(answer == (409, "text/x.tlog.size", b"620\n"), f"the size is told: {answer}")

    status, _, note = witness.get(name)
    demand(status == 200, "a monitor gets the last checkpoint")
    verified(note)
    demand(checkpoint_from_note(note)[0].size == 620, "which is the last")
    demand(witness.get("log.example/unknown")[0] == 404, "and none of an unknown log")
    print("ok")


def monitor(log_key, directory, note_file, *witnesses):
    log_key = parse_vkey(log_key)
    reader = HttpTileReader(f"file://{directory}")
    newest, _ = checkpoint_from_note(reader.read_checkpoint())
    result = verify_checkpoint(parse_note(reader.read_checkpoint()), log_key)
    demand(result.ok, f"the checkpoint is the log's: {result}")
    report = audit_tiles(reader, newest.size, newest.root)
    with open(note_file, "rb") as stored:
        cosigned = parse_note(stored.read())
    keys = [parse_vkey(witness) for witness in witnesses]
    result = verify_checkpoint(cosigned, log_key, keys, len(keys), now=int(time.time()), max_age_seconds=3600)
    demand(result.ok, f"witnesses cosigned it: {result}")
    before, _ = checkpoint_from_note(cosigned)
    proof = consistency_proof_from_tiles(reader, before.size, newest.size)
    demand(
        verify_consistency(before.size, newest.size, before.root, newest.root, proof),
        "the log grew from what was cosigned",
    )
    print(f"{report.size} leaves, {report.tiles} tiles, {report.bundles} bundles")


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
