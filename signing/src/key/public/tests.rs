use super::*;
use crate::key::SigningKey;
use crate::signature::fixed_to_der;

/// The order n of P-256 and of P-384 (FIPS 186-4 appendix D.1.2).
const ORDERS: [(Algorithm, &str); 2] = [
    (
        Algorithm::Es256,
        "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
    ),
    (
        Algorithm::Es384,
        "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
    ),
];

// R4
#[test]
fn r_and_s_of_zero_or_from_n_up_are_refused() {
    for (algorithm, order) in ORDERS {
        let key = SigningKey::generate(algorithm).unwrap();
        let public = key.public().unwrap();
        let n = crate::encoding::from_hex(order).unwrap();
        let good = key.sign(b"message").unwrap();
        let (r, s) = good.split_at(n.len());
        let zero = vec![0; n.len()];
        let mut one = zero.clone();
        *one.last_mut().unwrap() = 1;
        let mut above = n.clone();
        *above.last_mut().unwrap() += 1;
        let most = vec![0xff; n.len()];
        for bad in [&zero, &n, &above, &most] {
            for (r, s) in [(&bad[..], s), (r, &bad[..]), (&bad[..], &bad[..]), (&one[..], &bad[..])] {
                let signature = [r, s].concat();
                assert_eq!(public.verify(b"message", &signature), Err(BadSignature));
                assert_eq!(public.verify(b"", &signature), Err(BadSignature));
                assert!(fixed_to_der(algorithm, &signature).is_ok());
            }
        }
        public.verify(b"message", &good).unwrap();
    }
}

#[test]
fn an_encoding_reads_back_as_itself() {
    for algorithm in [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Es384] {
        let key = SigningKey::generate(algorithm).unwrap();
        let public = key.public().unwrap();
        let again = PublicKey::from_spki_der(public.to_spki_der()).unwrap();
        assert_eq!(&again, public);
        assert_eq!(
            PublicKey::from_spki_der_as(algorithm, public.to_spki_der()).as_ref(),
            Ok(public)
        );
        assert_eq!(again.thumbprint().len(), 43);
        for other in Algorithm::ALL.into_iter().filter(|other| *other != algorithm) {
            assert!(
                PublicKey::from_spki_der_as(other, public.to_spki_der()).is_err(),
                "{algorithm} as {other}"
            );
        }
    }
}

#[test]
fn every_cut_or_longer_encoding_is_refused() {
    for algorithm in [Algorithm::EdDsa, Algorithm::Es256] {
        let key = SigningKey::generate(algorithm).unwrap();
        let spki = key.public().unwrap().to_spki_der();
        for len in 0..spki.len() {
            assert!(PublicKey::from_spki_der(&spki[..len]).is_err());
        }
        assert!(PublicKey::from_spki_der(&[spki, &[0]].concat()).is_err());
    }
    assert!(PublicKey::from_spki_der(&vec![0x30; 4096]).is_err());
}

#[test]
fn points_off_the_curve_compressed_or_at_infinity_are_refused() {
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let Raw::Point(point) = key.public().unwrap().raw() else {
        panic!("a point")
    };
    let mut off = point.clone();
    off[64] ^= 1;
    assert!(PublicKey::from_raw(Algorithm::Es256, &off).is_err());
    let compressed = [&[2 + (point[64] & 1)], &point[1..33]].concat();
    assert!(PublicKey::from_raw(Algorithm::Es256, &compressed).is_err());
    assert!(PublicKey::from_raw(Algorithm::Es256, &[0]).is_err());
    assert!(PublicKey::from_raw(Algorithm::Es256, &[&[4][..], &[0; 64]].concat()).is_err());
}

#[test]
fn ed25519_points_of_small_order_are_refused() {
    let mut identity = [0; 32];
    identity[0] = 1;
    let order_two = [
        0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
    ];
    for weak in [[0; 32], identity, order_two] {
        assert!(PublicKey::from_raw(Algorithm::EdDsa, &weak).is_err(), "{weak:?}");
    }
}

#[test]
fn rsa_numbers_out_of_bounds_are_refused() {
    let n = |bytes: usize| {
        let mut n = vec![0xc1; bytes];
        *n.last_mut().unwrap() = 0x01;
        n
    };
    let key = |n: &[u8], e: &[u8]| PublicKey::from_rsa(Algorithm::Rs256, n, e);
    assert!(key(&n(256), &[1, 0, 1]).is_ok());
    for bytes in [64, 128, 255, 1025] {
        assert!(key(&n(bytes), &[1, 0, 1]).is_err(), "{bytes}");
    }
    let mut short = n(256);
    short[0] = 0x7f;
    assert!(key(&short, &[1, 0, 1]).is_err());
    let mut even = n(256);
    even[255] = 2;
    assert!(key(&even, &[1, 0, 1]).is_err());
    for e in [&[][..], &[0], &[1], &[2], &[1, 0, 0], &[1, 0, 0, 0, 1]] {
        assert!(key(&n(256), e).is_err(), "{e:?}");
    }
    let rsa = key(&n(256), &[1, 0, 1]).unwrap();
    assert!(matches!(
        PublicKey::from_spki_der(rsa.to_spki_der()),
        Err(KeyError::Unsupported(_))
    ));
    assert_eq!(
        PublicKey::from_spki_der_as(Algorithm::Rs256, rsa.to_spki_der()).unwrap(),
        rsa
    );
    assert!(PublicKey::from_spki_der_as(Algorithm::Es256, rsa.to_spki_der()).is_err());
}
