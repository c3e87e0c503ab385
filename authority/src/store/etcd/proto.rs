//! etcd's API, generated from `proto/etcd.proto` when the crate is built, and what is said with it.

use bytes::Bytes;

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "generated code; its documentation is the .proto file"
)]
mod generated {
    tonic::include_proto!("etcdserverpb");
}

pub(super) use self::generated::compare::{CompareResult, CompareTarget, TargetUnion};
pub(super) use self::generated::kv_client::KvClient;
pub(super) use self::generated::request_op::Request;
pub(super) use self::generated::response_op::Response;
pub(super) use self::generated::watch_client::WatchClient;
pub(super) use self::generated::watch_request::RequestUnion;
pub(super) use self::generated::{
    Compare, DeleteRangeRequest, Event, PutRequest, RangeRequest, RangeResponse, RequestOp, ResponseHeader, TxnRequest,
    TxnResponse, WatchCreateRequest, WatchRequest, WatchResponse,
};

/// Reads one key.
pub(super) fn one(key: impl Into<Bytes>) -> RangeRequest {
    RangeRequest {
        key: key.into(),
        ..RangeRequest::default()
    }
}

/// Reads what lies between two keys, the second excluded.
pub(super) fn between((key, range_end): (Vec<u8>, Vec<u8>)) -> RangeRequest {
    RangeRequest {
        key: key.into(),
        range_end: range_end.into(),
        ..RangeRequest::default()
    }
}

pub(super) fn read(range: RangeRequest) -> RequestOp {
    op(Request::RequestRange(range))
}

pub(super) fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> RequestOp {
    op(Request::RequestPut(PutRequest {
        key: key.into(),
        value: value.into(),
    }))
}

/// Deletes one key.
pub(super) fn delete(key: impl Into<Bytes>) -> RequestOp {
    delete_between((key.into(), Bytes::new()))
}

/// Deletes what lies between two keys, the second excluded.
pub(super) fn delete_between((key, range_end): (impl Into<Bytes>, impl Into<Bytes>)) -> RequestOp {
    op(Request::RequestDeleteRange(DeleteRangeRequest {
        key: key.into(),
        range_end: range_end.into(),
    }))
}

/// All of these as one operation of a transaction.
pub(super) fn all_of(success: Vec<RequestOp>) -> RequestOp {
    op(Request::RequestTxn(TxnRequest {
        success,
        ..TxnRequest::default()
    }))
}

/// That a key was last put at an etcd revision; 0: that it is absent.
pub(super) fn last_put(key: impl Into<Bytes>, revision: i64) -> Compare {
    Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Mod.into(),
        key: key.into(),
        target_union: Some(TargetUnion::ModRevision(revision)),
    }
}

/// That a key is there.
pub(super) fn exists(key: impl Into<Bytes>) -> Compare {
    Compare {
        result: CompareResult::Greater.into(),
        target: CompareTarget::Create.into(),
        key: key.into(),
        target_union: Some(TargetUnion::CreateRevision(0)),
    }
}

/// The etcd revision of an answer.
pub(super) fn revision(header: Option<&ResponseHeader>) -> i64 {
    header.map_or(0, |header| header.revision)
}

fn op(request: Request) -> RequestOp {
    RequestOp { request: Some(request) }
}
