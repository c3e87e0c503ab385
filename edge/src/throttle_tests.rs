use super::*;

#[test]
fn ipv6_is_counted_by_its_64() {
    let a: IpAddr = "2001:db8:1:2:3::1".parse().unwrap();
    let b: IpAddr = "2001:db8:1:2:ffff::9".parse().unwrap();
    let c: IpAddr = "2001:db8:1:3::1".parse().unwrap();
    assert_eq!(network(a), network(b));
    assert_ne!(network(a), network(c));
    assert_eq!(
        network("::ffff:192.0.2.1".parse().unwrap()),
        "192.0.2.1".parse::<IpAddr>().unwrap()
    );
}

fn limits(rate: &str) -> (Limits, Vec<Arc<Profile>>) {
    let caller = signing::key::SigningKey::generate(signing::algorithm::Algorithm::Es256).unwrap();
    let files = crate::testing::files::bundle(&caller, &format!("[limits]\nper_address = \"{rate}\""));
    let bundle = policies::bundle::Bundle::parse(&files).unwrap();
    (bundle.limits, bundle.profiles)
}

#[test]
fn a_new_bundle_keeps_the_counts_of_what_it_leaves_alone() {
    let (hour, profiles) = limits("1/h");
    let address = "192.0.2.1".parse().unwrap();
    let first = Throttle::new(&hour, &profiles, None);
    assert!(first.address(address).is_ok());
    let limited = first.address(address).unwrap_err();
    assert_eq!((limited.policy, limited.quota, limited.window), ("address", 1, 3600));
    let profile = profiles.iter().find(|profile| profile.name == "limited").unwrap();
    assert!(first.take("key", profile).is_ok() && first.take("key", profile).is_ok());
    let same = Throttle::new(&hour, &profiles, Some(&first));
    assert!(same.address(address).is_err() && same.take("key", profile).is_err());
    let (second, _) = limits("1/s");
    let other = Throttle::new(&second, &profiles, Some(&same));
    assert!(other.address(address).is_ok());
    assert!(other.take("key", profile).is_err(), "its own rate has not changed");
    let (none, _) = (Limits::default(), ());
    let none = Throttle::new(&none, &[], Some(&other));
    assert!((0..100).all(|_| none.address(address).is_ok()));
}
