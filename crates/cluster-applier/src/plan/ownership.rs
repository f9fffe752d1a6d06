//! Whose is an object? Decided by its two marks alone: the label `app.kubernetes.io/managed-by: pullpass` and the
//! annotation that names the link or grant.
//!
//! - Both marks: ours. It may be changed, handed on to another link, and taken back.
//! - One mark, and it has the very name that a link or grant wants here, and the mark does not speak against that (the
//!   annotation names this one, or the label stands and the annotation is gone): ours, damaged by somebody's edit. It may
//!   be repaired, and only that. A tenant who forges a mark to be overwritten gains nothing: the namespace holds the same
//!   Secret then as if there had been none.
//! - No mark: not ours, whatever its name. It is never touched.

use crate::cluster::object::Marks;

/// What may be done with an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ownership {
    /// Everything.
    Ours,
    /// Repair by the one who wants it, nothing else.
    Damaged,
    /// Nothing.
    Foreign,
}

/// Whose an object with these marks is, seen by the link or grant `id` that wants an object of its name.
pub(crate) fn seen_by(marks: &Marks, id: &str) -> Ownership {
    match (marks.labelled, marks.cause.as_deref()) {
        (true, Some(cause)) if is_id(cause) => Ownership::Ours,
        (true, None) => Ownership::Damaged,
        (false, Some(cause)) if cause == id => Ownership::Damaged,
        (true | false, Some(_)) | (false, None) => Ownership::Foreign,
    }
}

/// Whether an object may be taken back although nobody wants it, and for whom: both marks stand.
pub(crate) fn managed_for(marks: &Marks) -> Option<&str> {
    let cause = marks.cause.as_deref().filter(|cause| is_id(cause));
    cause.filter(|_| marks.labelled)
}

/// What could be the id of one of our links or grants.
fn is_id(text: &str) -> bool {
    pullpass_domain::name::LinkName::from_id(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_decide_whose_an_object_is() {
        use Ownership::{Damaged, Foreign, Ours};
        for (labelled, cause, seen, managed) in [
            (true, Some("web"), Ours, Some("web")),
            (true, Some("other"), Ours, Some("other")),
            (true, Some("Not An Id"), Foreign, None),
            (true, None, Damaged, None),
            (false, Some("web"), Damaged, None),
            (false, Some("other"), Foreign, None),
            (false, None, Foreign, None),
        ] {
            let marks = Marks { labelled, cause: cause.map(Into::into) };
            assert_eq!(seen_by(&marks, "web"), seen, "{marks:?}");
            assert_eq!(managed_for(&marks), managed, "{marks:?}");
        }
    }
}
