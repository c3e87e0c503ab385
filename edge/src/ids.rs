//! Ids of requests: random UUIDs (RFC 9562 version 4), made of the kernel's bytes.
//!
//! An id has to be unique and is no secret: it is sent back, logged and recorded. So the bytes of some are fetched at
//! once; one at a time, asking the kernel costs about as much as a policy.

use std::cell::RefCell;

use uuid::{Builder, Uuid};

/// Ids that one question to the kernel is good for.
const AT_ONCE: usize = 32;

thread_local! {
    static BYTES: RefCell<Vec<[u8; 16]>> = const { RefCell::new(Vec::new()) };
}

/// A fresh id. Where the random source fails, this panics as [`Uuid::new_v4`] does: no request without an id (R24).
pub fn fresh() -> Uuid {
    BYTES.with_borrow_mut(|bytes| {
        if bytes.is_empty() {
            bytes.extend(batch());
        }
        match bytes.pop() {
            Some(bytes) => Builder::from_random_bytes(bytes).into_uuid(),
            None => Uuid::new_v4(),
        }
    })
}

fn batch() -> Vec<[u8; 16]> {
    let random = signing::key::random_bytes::<{ 16 * AT_ONCE }>();
    random.map_or_else(|_| Vec::new(), |random| random.as_chunks().0.to_vec())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_random_and_never_come_twice() {
        let ids = |count| (0..count).map(|_| fresh()).collect::<Vec<_>>();
        let mut all = ids(10 * AT_ONCE + 1);
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(move || ids(3 * AT_ONCE))).collect();
        all.extend(threads.into_iter().flat_map(|thread| thread.join().unwrap()));
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
        for id in all {
            assert_eq!((id.get_version_num(), id.get_variant()), (4, uuid::Variant::RFC4122));
        }
    }
}
