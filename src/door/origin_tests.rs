use http::HeaderValue;

use super::*;

fn origin(peer: &str, trusted: &[&str], headers: &[(&'static str, &'static str)]) -> ClientOrigin {
    let trusted = TrustedProxies::parse(trusted).unwrap();
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, HeaderValue::from_static(value));
    }
    let peer = SocketAddr::new(peer.parse().unwrap(), 40_000);
    let local = "192.0.2.1:8000".parse().unwrap();
    SocketOrigin::new(peer, local, ClientScheme::Http, &trusted).of_request(&map, None, &trusted)
}

#[test]
fn forwarded_headers_of_a_stranger_are_ignored() {
    let seen = origin(
        "203.0.113.9",
        &["10.0.0.0/8"],
        &[
            ("host", "api.example.com"),
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil.example"),
        ],
    );
    assert_eq!(seen.ip.to_string(), "203.0.113.9");
    assert_eq!(public_base_url("", &seen), "http://api.example.com");
}

#[test]
fn forwarded_headers_of_a_trusted_proxy_count() {
    let seen = origin(
        "::ffff:10.1.2.3",
        &["10.0.0.0/8"],
        &[
            ("host", "backend:8000"),
            ("x-forwarded-for", "198.51.100.7"),
            ("x-forwarded-proto", "https, http"),
            ("x-forwarded-host", "api.example.com, inner"),
        ],
    );
    assert_eq!(seen.ip.to_string(), "198.51.100.7");
    assert_eq!(public_base_url("", &seen), "https://api.example.com");
}

#[test]
fn what_a_client_wrote_before_the_proxy_is_not_believed() {
    let lists: &[(&[(&'static str, &'static str)], &str)] = &[
        (
            &[("x-forwarded-for", "6.6.6.6, 198.51.100.7, 10.0.0.2")],
            "198.51.100.7",
        ),
        (
            &[("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "198.51.100.7")],
            "198.51.100.7",
        ),
        (&[("x-forwarded-for", "198.51.100.7:4711")], "198.51.100.7"),
        (&[("x-forwarded-for", "[2001:db8::5]:99")], "2001:db8::5"),
        (&[("x-forwarded-for", "2001:db8::5")], "2001:db8::5"),
        (&[("x-forwarded-for", "6.6.6.6, unknown")], "10.0.0.1"),
        (&[("x-forwarded-for", "10.0.0.9, 10.0.0.2")], "10.0.0.9"),
        (&[("x-forwarded-for", "")], "10.0.0.1"),
    ];
    for (headers, expected) in lists {
        assert_eq!(
            origin("10.0.0.1", &["10.0.0.0/8"], headers).ip.to_string(),
            *expected,
            "{headers:?}"
        );
    }
}

#[test]
fn a_host_that_cannot_stand_in_a_url_is_replaced_by_our_address() {
    for host in ["user@evil.example", "a b", ""] {
        let seen = origin("203.0.113.9", &[], &[("host", host)]);
        assert_eq!(public_base_url("", &seen), "http://192.0.2.1:8000", "{host:?}");
    }
    assert_eq!(
        public_base_url("", &origin("203.0.113.9", &[], &[])),
        "http://192.0.2.1:8000"
    );
}

#[test]
fn the_configured_address_wins_unless_it_is_the_old_default() {
    let seen = origin("203.0.113.9", &[], &[("host", "h:1")]);
    assert_eq!(public_base_url("https://grok.example/", &seen), "https://grok.example");
    assert_eq!(public_base_url("http://127.0.0.1:8000/", &seen), "http://h:1");
    assert_eq!(public_base_url("  ", &seen), "http://h:1");
}

#[test]
fn entries_that_are_no_networks_are_named() {
    let error = TrustedProxies::parse(&["10.0.0.0/8", "nginx"]).unwrap_err();
    assert!(error.contains("\"nginx\""), "{error}");
    assert!(
        TrustedProxies::parse(&["::1", "127.0.0.1"])
            .unwrap()
            .contains("::ffff:127.0.0.1".parse().unwrap())
    );
}
