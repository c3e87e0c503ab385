"""Verifies a token with PyJWT's PyJWKClient, as a Python service would.

usage: verify_pyjwt.py JWKS_URI CA_FILE ALGORITHM ISSUER AUDIENCE TOKEN
"""
import json
import ssl
import sys

import jwt

jwks_uri, ca_file, algorithm, issuer, audience, token = sys.argv[1:]
client = jwt.PyJWKClient(jwks_uri, ssl_context=ssl.create_default_context(cafile=ca_file))
key = client.get_signing_key_from_jwt(token)
claims = jwt.decode(token, key, algorithms=[algorithm], issuer=issuer, audience=audience,
                    options={"require": ["exp", "iat", "iss", "sub", "aud", "jti"]})
for wrong in ({"issuer": "https://elsewhere.example", "audience": audience}, {"issuer": issuer, "audience": "other"}):
    try:
        jwt.decode(token, key, algorithms=[algorithm], **wrong)
    except jwt.InvalidTokenError:
        continue
    raise SystemExit(f"accepted with {wrong}")
print(json.dumps(claims))
