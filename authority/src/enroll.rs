//! Node identities: a join token, or a token under a trust rule, becomes a certificate, a certificate a fresh one.

use std::sync::Arc;

use node::contract::{EnrollRequest, EnrollResponse, RenewRequest};
use signing::algorithm::Algorithm;
use signing::certificate::Certificate;
use signing::node_certificate::{TlsNames, Usage};

use crate::edge_trust::EdgeTrust;
use crate::edges::{Edges, IssuedCertificate, KnownEdge};
use crate::fault::Fault;
use crate::issue::Issuer;
use crate::kms::demand_no_recorder;
use crate::names::EdgeId;

/// Issues node certificates to edges.
pub struct Enrollment {
    edges: Arc<Edges>,
    trust: Arc<EdgeTrust>,
    issuer: Arc<Issuer>,
    /// Life of a node certificate, seconds. Edges renew at half of it.
    lifetime: u64,
}

impl Enrollment {
    /// Certificates live for `lifetime` seconds.
    pub fn new(edges: Arc<Edges>, trust: Arc<EdgeTrust>, issuer: Arc<Issuer>, lifetime: u64) -> Self {
        Self {
            edges,
            trust,
            issuer,
            lifetime,
        }
    }

    /// Trades a token for a certificate. The token is used up, durably, before the certificate leaves; a crash
    /// after that costs the operator a new token, never a second certificate for one token.
    pub async fn enroll(&self, request: &EnrollRequest) -> Result<EnrollResponse, Fault> {
        // The token first: nobody without one gets the HSM to work.
        let admission = match (request.join_token.is_empty(), request.oidc_token.is_empty()) {
            (_, true) => self.edges.open_token(&request.join_token).await?,
            (true, false) => self.trust.admission(&request.trust_rule, &request.oidc_token).await?,
            (false, false) => {
                let message = "an edge enrolls by one of a join token and a token under a trust rule, not by both";
                return Err(Fault::invalid("bad_request", message));
            }
        };
        let id = admission.id.clone();
        demand_no_recorder(&id)?;
        let certificate = self.certify(&id, &request.csr).await?;
        self.edges.admit(admission, issued(&certificate)).await?;
        tracing::info!(edge = %id, serial = certificate.serial(), "edge enrolled");
        Ok(self.response(&id, certificate))
    }

    /// A fresh certificate for an edge that has shown a good one. The old one counts until its own end.
    pub async fn renew(&self, edge: &KnownEdge, request: &RenewRequest) -> Result<EnrollResponse, Fault> {
        let certificate = self.certify(edge.id(), &request.csr).await?;
        self.edges.add_certificate(edge, &issued(&certificate)).await?;
        tracing::info!(edge = %edge.id(), serial = certificate.serial(), "node certificate renewed");
        Ok(self.response(edge.id(), certificate))
    }

    async fn certify(&self, id: &EdgeId, csr: &[u8]) -> Result<Certificate, Fault> {
        let key = signing::csr::verify(csr).map_err(|error| Fault::invalid("bad_request", format!("csr: {error}")))?;
        if key.algorithm() != Algorithm::Es256 {
            return Err(Fault::invalid("bad_request", "a node's key is on P-256"));
        }
        let names = TlsNames {
            common_name: format!("edge {}", id.as_str().chars().take(59).collect::<String>()),
            spiffe_id: Some(self.edges.spiffe_id(id)),
            ..TlsNames::default()
        };
        self.issuer
            .node(&names, Usage::NODE, key.to_spki_der(), self.lifetime)
            .await
    }

    fn response(&self, id: &EdgeId, certificate: Certificate) -> EnrollResponse {
        EnrollResponse {
            certificates: vec![certificate.into_der(), self.issuer.roots().nodes.der().to_vec()],
            spiffe_id: self.edges.spiffe_id(id),
            edge_id: id.to_string(),
        }
    }
}

fn issued(certificate: &Certificate) -> IssuedCertificate {
    IssuedCertificate {
        serial: certificate.serial(),
        not_after: certificate.not_after(),
    }
}
