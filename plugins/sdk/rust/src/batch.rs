//! Several requests in one call, for a rule that exports `evaluate-batch` beside `evaluate`.

use alloc::vec::Vec;

use crate::{Guest, Refusal, Request, Verdict};

/// A rule that judges several requests of one caller for one profile in one call. It is one with `impl BatchGuest for Rule {}`
/// and [`export_batch!`](crate::export_batch), and then has no [`counter`](crate::counter).
///
/// What it keeps from one request to the next, in a static or a `thread_local!`, lasts for the call. An edge may ask
/// [`Guest::evaluate`] about any of them instead, and asks it about each of them where this fails: both must come to the same.
pub trait BatchGuest: Guest {
    /// As many answers as there are requests, 1 to 16, each to the one in its place.
    fn evaluate_batch(requests: Vec<Request>) -> Vec<Result<Verdict, Refusal>> {
        requests.into_iter().map(Self::evaluate).collect()
    }
}

/// Exports `evaluate` and `evaluate-batch` of a [`BatchGuest`], in place of `export!`.
///
/// ```
/// use signet_plugin::{BatchGuest, Guest, Refusal, Request, Verdict, allow};
///
/// struct Rule;
///
/// impl Guest for Rule {
///     fn evaluate(_: Request) -> Result<Verdict, Refusal> {
///         allow()
///     }
/// }
///
/// impl BatchGuest for Rule {}
///
/// signet_plugin::export_batch!(Rule with_types_in signet_plugin);
/// ```
#[macro_export]
macro_rules! export_batch {
    ($ty:ident with_types_in $($root:tt)*) => {
        $($root)*::export!($ty with_types_in $($root)*);
        const _: () = {
            struct Exported;
            impl $($root)*::batch_bindings::Guest for Exported {
                fn evaluate_batch(
                    requests: $($root)*::Requests,
                ) -> $($root)*::Answers {
                    <$ty as $($root)*::BatchGuest>::evaluate_batch(requests)
                }
            }
            $($root)*::batch_bindings::export!(Exported with_types_in $($root)*::batch_bindings);
        };
    };
}

/// So that the macro needs no path to `alloc` in the rule's crate.
#[doc(hidden)]
pub type Requests = Vec<Request>;
#[doc(hidden)]
pub type Answers = Vec<Result<Verdict, Refusal>>;

/// What makes `evaluate-batch` of the component's world; the types are those of `evaluate`.
#[doc(hidden)]
#[allow(missing_docs)]
pub mod batch_bindings {
    wit_bindgen::generate!({
        inline: "
            package signet:batch;
            world batch {
                use signet:rule/types@1.0.0.{request, verdict, refusal};
                export evaluate-batch: func(requests: list<request>) -> list<result<verdict, refusal>>;
            }
        ",
        path: "../../wit",
        with: { "signet:rule/types@1.0.0": crate::bindings::signet::rule::types },
        pub_export_macro: true,
        default_bindings_module: "signet_plugin::batch_bindings",
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use crate::{allow, refuse};

    struct WebOnly;

    impl Guest for WebOnly {
        fn evaluate(request: Request) -> Result<Verdict, Refusal> {
            match request.profile.as_str() {
                "web" => allow(),
                _ => refuse("web_only", "this is for the web"),
            }
        }
    }

    impl BatchGuest for WebOnly {}

    /// Refuses what is not the first.
    struct FirstOnly;

    impl Guest for FirstOnly {
        fn evaluate(_: Request) -> Result<Verdict, Refusal> {
            allow()
        }
    }

    impl BatchGuest for FirstOnly {
        fn evaluate_batch(requests: Vec<Request>) -> Vec<Result<Verdict, Refusal>> {
            let judge = |(at, request)| match at {
                0 => Self::evaluate(request),
                _ => refuse("one_only", "one at a time"),
            };
            requests.into_iter().enumerate().map(judge).collect()
        }
    }

    fn codes(answers: Vec<Result<Verdict, Refusal>>) -> Vec<Option<String>> {
        answers
            .into_iter()
            .map(|answer| answer.err().map(|refusal| refusal.code))
            .collect()
    }

    fn requests() -> Vec<Request> {
        vec![
            testing::token(&[], &[]),
            testing::artifact(&[]),
            testing::token(&[], &[]),
        ]
    }

    #[test]
    fn each_request_is_judged_by_itself_unless_the_rule_has_its_own_way() {
        assert_eq!(
            codes(WebOnly::evaluate_batch(requests())),
            [None, Some("web_only".into()), None]
        );
        let one_only = || Some("one_only".into());
        assert_eq!(
            codes(FirstOnly::evaluate_batch(requests())),
            [None, one_only(), one_only()]
        );
    }
}
