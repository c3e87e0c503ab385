# What a Signet rule in Python may import: of the world signet:rule/rule@1.1.0, as componentize-py hands it over.
"""
What a rule reads and answers. No resources, no handles: plain values only.
"""
from dataclasses import dataclass
from enum import Enum
from typing import List, Optional, Tuple, Union

@dataclass
class Value_Text:
    value: str

@dataclass
class Value_Int:
    value: int

@dataclass
class Value_Float:
    value: float

@dataclass
class Value_Boolean:
    value: bool

@dataclass
class Value_Texts:
    value: List[str]

@dataclass
class Value_Json:
    value: str

Value = Union[Value_Text, Value_Int, Value_Float, Value_Boolean, Value_Texts, Value_Json]
"""
A claim of a token, an attribute of a caller, or a setting of the plugin.
"""

@dataclass
class Caller:
    """
    Who asks. Every field was verified before the rule is called.
    """
    id: str
    kind: str
    issuer: str
    subject: str
    attributes: List[Tuple[str, Value]]

@dataclass
class Token:
    """
    A token that is about to be minted. Registered claims (RFC 7519) are never among `claims`.
    """
    subject: Optional[str]
    audience: List[str]
    lifetime: int
    claims: List[Tuple[str, Value]]

class ArtifactForm(Enum):
    DIGEST = 0
    MESSAGE = 1

@dataclass
class Artifact:
    """
    An artifact that is about to be signed.
    """
    form: ArtifactForm
    algorithm: str
    digest: bytes

@dataclass
class Payload_Token:
    value: Token

@dataclass
class Payload_Artifact:
    value: Artifact

Payload = Union[Payload_Token, Payload_Artifact]

class Protocol(Enum):
    HTTP1 = 0
    HTTP2 = 1
    HTTP3 = 2

@dataclass
class Request:
    profile: str
    key: str
    format: str
    tenant: str
    caller: Caller
    payload: Payload
    time: int
    request_id: str
    trace_id: Optional[str]
    source_address: str
    protocol: Protocol

@dataclass
class Verdict:
    """
    Go on, but no further than this says. A verdict narrows; it never widens.
    """
    lifetime_cap: Optional[int]
    claims: List[Tuple[str, Value]]

@dataclass
class Refusal:
    """
    Do not sign. The caller sees both fields.
    """
    code: str
    message: str
