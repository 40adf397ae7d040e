use std::collections::BTreeSet;

use super::*;

#[test]
fn every_admin_subject_is_an_operation_and_every_operation_has_its_own() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/src/bus/subjects.rs");
    let text = std::fs::read_to_string(file).unwrap();
    let named: BTreeSet<&str> = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| line.split('"').skip(1).step_by(2))
        .filter(|literal| literal.starts_with("admin.") && !literal.contains(['>', '*']))
        .collect();
    let offered: Vec<&str> = operations().iter().map(|operation| operation.about.subject).collect();
    assert_eq!(offered.iter().copied().collect::<BTreeSet<_>>(), named);
    assert_eq!(offered.len(), named.len(), "a subject is offered twice");
}

#[test]
fn operations_are_described_and_those_that_only_read_are_for_viewers() {
    for operation in operations() {
        let about = &operation.about;
        assert!(about.doc.ends_with('.'), "{}", about.name());
        let reads = about.http.0 == "GET";
        assert_eq!(reads, about.role == Role::Viewer, "{}", about.name());
        assert_eq!(about.name(), format!("{}.{}", about.group(), about.verb()));
        assert!(super::operation(about.name()).is_some());
    }
}
