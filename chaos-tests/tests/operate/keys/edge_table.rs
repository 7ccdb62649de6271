//! The same for the keys of TLS, and of what a route does beyond choosing a service.

/// As [`TABLE`](super::table::TABLE).
pub const EDGE: &[(&str, &str)] = &[
    (
        "defaults.hash",
        "routing::places::requests_of_one_user_go_to_one_instance_in_every_worker_and_process_and_to_another_when_that_is_gone",
    ),
    (
        "defaults.hash.address",
        "routing::places::requests_of_one_user_go_to_one_instance_in_every_worker_and_process_and_to_another_when_that_is_gone",
    ),
    (
        "defaults.hash.cookie",
        "outrigger::config::tests::routing::a_balancer_that_keeps_requests_together_is_told_by_what",
    ),
    (
        "defaults.hash.header",
        "routing::places::requests_of_one_user_go_to_one_instance_in_every_worker_and_process_and_to_another_when_that_is_gone",
    ),
    (
        "defaults.hash.path",
        "routing::places::requests_of_one_user_go_to_one_instance_in_every_worker_and_process_and_to_another_when_that_is_gone",
    ),
    ("listeners[].access", "routing::ways::a_listener_lets_in_who_may_call_there_whatever_is_asked_for"),
    ("listeners[].access.allow", "routing::ways::a_listener_lets_in_who_may_call_there_whatever_is_asked_for"),
    ("listeners[].access.deny", "routing::ways::a_listener_lets_in_who_may_call_there_whatever_is_asked_for"),
    ("listeners[].tls", "tls::listeners::the_certificate_is_that_of_the_name_and_else_the_first"),
    ("listeners[].tls.alpn", "tls::listeners::a_client_that_offers_other_protocols_only_is_refused_and_counted"),
    ("listeners[].tls.certificates", "tls::listeners::the_certificate_is_that_of_the_name_and_else_the_first"),
    ("listeners[].tls.certificates[].cert", "tls::files::each_file_that_cannot_be_used_is_named_with_its_key"),
    ("listeners[].tls.certificates[].key", "tls::files::each_file_that_cannot_be_used_is_named_with_its_key"),
    (
        "listeners[].tls.client_auth",
        "tls::clients::who_shows_no_good_certificate_is_let_in_only_where_none_is_required",
    ),
    ("listeners[].tls.client_ca", "tls::clients::who_shows_no_good_certificate_is_let_in_only_where_none_is_required"),
    (
        "listeners[].tls.client_crls",
        "tls::clients::a_revoked_client_is_refused_and_from_a_reload_on_one_with_a_session_is_too",
    ),
    ("listeners[].tls.handshake_timeout", "tls::hostile::a_handshake_that_stalls_ends_in_its_time"),
    ("listeners[].tls.min_version", "tls::listeners::a_client_below_the_least_version_is_refused_and_counted"),
    ("listeners[].tls.ocsp_stapling", "tls::files::what_cannot_be_meant_is_named_with_its_key"),
    ("listeners[].tls.unknown_sni", "tls::listeners::the_certificate_is_that_of_the_name_and_else_the_first"),
    ("routes[].access", "routing::ways::a_call_that_no_rule_lets_in_is_answered_403_and_told_nothing"),
    ("routes[].access.allow", "routing::ways::a_call_that_no_rule_lets_in_is_answered_403_and_told_nothing"),
    ("routes[].access.deny", "routing::ways::a_call_that_no_rule_lets_in_is_answered_403_and_told_nothing"),
    ("routes[].answer", "routing::ways::a_fixed_answer_asks_nobody"),
    ("routes[].answer.body", "routing::ways::a_fixed_answer_asks_nobody"),
    ("routes[].answer.headers", "routing::ways::a_fixed_answer_asks_nobody"),
    ("routes[].answer.status", "routing::ways::a_fixed_answer_asks_nobody"),
    (
        "routes[].headers",
        "routing::matching::a_request_goes_by_its_headers_its_query_its_method_and_a_pattern_of_its_path",
    ),
    (
        "routes[].headers.NAME.exact",
        "outrigger::config::tests::routing::a_condition_is_written_as_a_value_or_as_a_map_of_one_key",
    ),
    (
        "routes[].headers.NAME.prefix",
        "routing::matching::a_request_goes_by_its_headers_its_query_its_method_and_a_pattern_of_its_path",
    ),
    (
        "routes[].headers.NAME.present",
        "routing::matching::a_request_goes_by_its_headers_its_query_its_method_and_a_pattern_of_its_path",
    ),
    (
        "routes[].headers.NAME.regex",
        "routing::matching::a_request_goes_by_its_headers_its_query_its_method_and_a_pattern_of_its_path",
    ),
    ("routes[].mirror", "routing::mirror::a_copy_is_the_request_as_it_was_sent_with_its_body"),
    (
        "routes[].mirror.max_in_flight",
        "routing::mirror::a_service_that_hangs_or_is_gone_neither_slows_nor_fails_the_original",
    ),
    ("routes[].mirror.service", "routing::mirror::a_copy_is_the_request_as_it_was_sent_with_its_body"),
    ("routes[].mirror.share", "routing::mirror::a_share_is_a_share_and_a_body_that_is_not_held_whole_is_not_copied"),
    (
        "routes[].path.regex",
        "routing::matching::a_request_goes_by_its_headers_its_query_its_method_and_a_pattern_of_its_path",
    ),
    (
        "routes[].query",
        "routing::matching::a_request_goes_by_its_headers_its_query_its_method_and_a_pattern_of_its_path",
    ),
    (
        "routes[].query.NAME.exact",
        "outrigger::config::tests::routing::a_condition_is_written_as_a_value_or_as_a_map_of_one_key",
    ),
    (
        "routes[].query.NAME.prefix",
        "routing::matching::a_request_goes_by_its_headers_its_query_its_method_and_a_pattern_of_its_path",
    ),
    (
        "routes[].query.NAME.present",
        "routing::matching::a_request_goes_by_its_headers_its_query_its_method_and_a_pattern_of_its_path",
    ),
    (
        "routes[].query.NAME.regex",
        "routing::matching::a_request_goes_by_its_headers_its_query_its_method_and_a_pattern_of_its_path",
    ),
    ("routes[].redirect", "routing::ways::a_redirect_says_where_and_keeps_what_it_does_not_replace"),
    ("routes[].redirect.host", "routing::ways::a_redirect_says_where_and_keeps_what_it_does_not_replace"),
    ("routes[].redirect.path", "routing::ways::a_redirect_says_where_and_keeps_what_it_does_not_replace"),
    ("routes[].redirect.prefix", "routing::ways::a_redirect_says_where_and_keeps_what_it_does_not_replace"),
    ("routes[].redirect.regex", "routing::ways::a_redirect_says_where_and_keeps_what_it_does_not_replace"),
    ("routes[].redirect.scheme", "routing::ways::a_redirect_says_where_and_keeps_what_it_does_not_replace"),
    ("routes[].redirect.status", "routing::ways::a_redirect_says_where_and_keeps_what_it_does_not_replace"),
    ("routes[].redirect.with", "routing::ways::a_redirect_says_where_and_keeps_what_it_does_not_replace"),
    (
        "routes[].request_headers",
        "routing::ways::a_service_gets_the_path_the_host_and_the_fields_that_the_route_makes_of_them",
    ),
    (
        "routes[].request_headers.add",
        "routing::ways::a_service_gets_the_path_the_host_and_the_fields_that_the_route_makes_of_them",
    ),
    (
        "routes[].request_headers.remove",
        "routing::ways::a_service_gets_the_path_the_host_and_the_fields_that_the_route_makes_of_them",
    ),
    (
        "routes[].request_headers.set",
        "routing::ways::a_service_gets_the_path_the_host_and_the_fields_that_the_route_makes_of_them",
    ),
    (
        "routes[].response_headers",
        "routing::ways::a_service_gets_the_path_the_host_and_the_fields_that_the_route_makes_of_them",
    ),
    (
        "routes[].response_headers.add",
        "routing::ways::a_service_gets_the_path_the_host_and_the_fields_that_the_route_makes_of_them",
    ),
    (
        "routes[].response_headers.remove",
        "routing::ways::a_service_gets_the_path_the_host_and_the_fields_that_the_route_makes_of_them",
    ),
    (
        "routes[].response_headers.set",
        "routing::ways::a_service_gets_the_path_the_host_and_the_fields_that_the_route_makes_of_them",
    ),
    ("routes[].rewrite", "routing::ways::a_service_gets_the_path_the_host_and_the_fields_that_the_route_makes_of_them"),
    (
        "routes[].rewrite.host",
        "routing::ways::a_service_gets_the_path_the_host_and_the_fields_that_the_route_makes_of_them",
    ),
    (
        "routes[].rewrite.path",
        "routing::ways::a_service_gets_the_path_the_host_and_the_fields_that_the_route_makes_of_them",
    ),
    (
        "routes[].rewrite.prefix",
        "routing::ways::a_service_gets_the_path_the_host_and_the_fields_that_the_route_makes_of_them",
    ),
    (
        "routes[].rewrite.regex",
        "routing::ways::a_service_gets_the_path_the_host_and_the_fields_that_the_route_makes_of_them",
    ),
    (
        "routes[].rewrite.with",
        "routing::ways::a_service_gets_the_path_the_host_and_the_fields_that_the_route_makes_of_them",
    ),
    ("routes[].split", "routing::ways::a_split_shares_requests_out_by_weight"),
    ("routes[].split[].service", "routing::ways::a_split_shares_requests_out_by_weight"),
    ("routes[].split[].weight", "routing::ways::a_split_shares_requests_out_by_weight"),
    ("routes[].sticky", "routing::ways::requests_of_one_cookie_stay_at_one_service_in_every_worker_and_process"),
    (
        "routes[].sticky.address",
        "routing::ways::requests_of_one_cookie_stay_at_one_service_in_every_worker_and_process",
    ),
    ("routes[].sticky.cookie", "routing::ways::requests_of_one_cookie_stay_at_one_service_in_every_worker_and_process"),
    ("routes[].sticky.header", "routing::ways::requests_of_one_cookie_stay_at_one_service_in_every_worker_and_process"),
    ("routes[].sticky.path", "routing::ways::requests_of_one_cookie_stay_at_one_service_in_every_worker_and_process"),
    (
        "services.NAME.fallback_subset",
        "routing::places::a_subset_gets_the_requests_of_those_that_carry_it_and_its_fallback_while_nobody_does",
    ),
    (
        "services.NAME.subset",
        "routing::places::a_subset_gets_the_requests_of_those_that_carry_it_and_its_fallback_while_nobody_does",
    ),
    ("services.NAME.tls", "tls::endpoints::nginx_is_verified_by_our_authority_and_gets_requests"),
    ("services.NAME.tls.ca", "tls::endpoints::nginx_is_verified_by_our_authority_and_gets_requests"),
    ("services.NAME.tls.cert", "tls::endpoints::haproxy_that_wants_a_certificate_gets_ours"),
    ("services.NAME.tls.insecure_skip_verify", "tls::endpoints::not_verifying_is_spelled_out_logged_and_shown"),
    ("services.NAME.tls.key", "tls::endpoints::haproxy_that_wants_a_certificate_gets_ours"),
    ("services.NAME.tls.min_version", "tls::endpoints::an_instance_below_the_least_version_gets_no_request"),
    ("services.NAME.tls.server_name", "tls::endpoints::nginx_is_verified_by_our_authority_and_gets_requests"),
];
