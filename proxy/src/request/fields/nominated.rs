//! Which fields are hop-by-hop because `Connection` says so (RFC 9110 section 7.6.1).
//!
//! Nearly every `Connection` names one field, and comparing each field of the head with that name is the cheapest
//! way. But a head has room for thousands of names and a hundred fields: comparing each with each would cost a
//! million comparisons for one request. So a long list is sorted once, and looked up in after that.

use std::cmp::Ordering;

use crate::http::Head;
use crate::http::head::{Name, list};

/// The names in a head's `Connection` lines.
#[derive(Debug)]
pub(super) enum Nominated<'h> {
    None,
    Few(&'h Head),
    Many(Vec<&'h [u8]>),
}

/// The longest list, in bytes, that is walked for each field. It is measured in bytes and not in names, since a list
/// of commas alone costs as much.
const FEW: usize = 64;

impl<'h> Nominated<'h> {
    pub(super) fn by(head: &'h Head) -> Self {
        if !head.has(Name::Connection) {
            return Self::None;
        }
        if head.all(Name::Connection).map(<[u8]>::len).sum::<usize>() <= FEW {
            return Self::Few(head);
        }
        let mut names: Vec<_> = head.all(Name::Connection).flat_map(list).collect();
        names.sort_unstable_by(|a, b| in_any_case(a, b));
        Self::Many(names)
    }

    /// Whether it is one of them, in any case.
    pub(super) fn has(&self, name: &[u8]) -> bool {
        match self {
            Self::None => false,
            Self::Few(head) => head.lists(Name::Connection, name),
            Self::Many(names) => names.binary_search_by(|one| in_any_case(one, name)).is_ok(),
        }
    }
}

fn in_any_case(a: &[u8], b: &[u8]) -> Ordering {
    a.iter().map(u8::to_ascii_lowercase).cmp(b.iter().map(u8::to_ascii_lowercase))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn many_names_are_found_as_few_are(names in proptest::collection::vec("[a-cA-C]{1,2}", 0..40), sought in "[a-cA-C]{1,2}") {
            let mut head = Head::default();
            for line in names.chunks(7) {
                head.push(b"Connection", line.join(" , ").as_bytes()).unwrap();
            }
            let listed = names.iter().any(|name| name.eq_ignore_ascii_case(&sought));
            prop_assert_eq!(Nominated::by(&head).has(sought.as_bytes()), listed);
        }
    }

    #[test]
    fn more_than_a_few_are_put_in_order_once() {
        let mut head = Head::default();
        assert!(matches!(Nominated::by(&head), Nominated::None));
        head.push(b"Connection", "a,".repeat(FEW / 2).as_bytes()).unwrap();
        assert!(matches!(Nominated::by(&head), Nominated::Few(_)));
        head.push(b"Connection", b"b").unwrap();
        assert!(matches!(Nominated::by(&head), Nominated::Many(_)));
    }
}
