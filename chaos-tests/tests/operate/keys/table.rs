//! Which test sets a key and sees what it does. One row for each key of the page, in its order.

/// A key, and a test as `program::module::function`. `outrigger::` is a test beside the code. Policies stand once, under
/// `defaults`: what a service and a route make of them is one test's matter.
pub const TABLE: &[(&str, &str)] = &[
    ("listeners", "operate::keys::http::a_listener_can_lead_to_one_service_and_hand_over_only_who_has_spoken"),
    (
        "listeners[].address",
        "operate::keys::http::a_listener_can_lead_to_one_service_and_hand_over_only_who_has_spoken",
    ),
    (
        "listeners[].service",
        "operate::keys::http::a_listener_can_lead_to_one_service_and_hand_over_only_who_has_spoken",
    ),
    (
        "listeners[].defer_accept",
        "operate::keys::http::a_listener_can_lead_to_one_service_and_hand_over_only_who_has_spoken",
    ),
    ("tcp", "operate::keys::services::a_tcp_proxy_tries_to_connect_for_as_long_as_it_says"),
    ("tcp[].name", "operate::keys::services::a_tcp_proxy_tries_to_connect_for_as_long_as_it_says"),
    ("tcp[].listen", "operate::keys::services::a_tcp_proxy_tries_to_connect_for_as_long_as_it_says"),
    ("tcp[].service", "tcp::proxies::a_service_s_connections_are_spread_over_its_instances"),
    ("tcp[].upstream", "operate::keys::services::a_tcp_proxy_tries_to_connect_for_as_long_as_it_says"),
    (
        "tcp[].idle_timeout",
        "tcp::proxies::a_connection_on_which_nothing_moves_is_closed_after_its_idle_time_and_no_other",
    ),
    ("tcp[].connect_timeout", "operate::keys::services::a_tcp_proxy_tries_to_connect_for_as_long_as_it_says"),
    (
        "registries",
        "operate::keys::found::names_lead_to_services_of_the_registry_by_suffixes_and_within_what_is_allowed",
    ),
    (
        "registries.NAME.type",
        "operate::keys::found::names_lead_to_services_of_the_registry_by_suffixes_and_within_what_is_allowed",
    ),
    (
        "registries.NAME.address",
        "operate::keys::found::consul_is_asked_at_its_address_for_the_datacenter_with_the_token_and_believed_as_far_as_it_may_be",
    ),
    ("registries.NAME.token_file", "operate::keys::found::a_token_that_changes_is_read_again"),
    (
        "registries.NAME.datacenter",
        "operate::keys::found::consul_is_asked_at_its_address_for_the_datacenter_with_the_token_and_believed_as_far_as_it_may_be",
    ),
    (
        "registries.NAME.max_stale",
        "operate::keys::found::consul_is_asked_at_its_address_for_the_datacenter_with_the_token_and_believed_as_far_as_it_may_be",
    ),
    (
        "registries.NAME.include_warning",
        "operate::keys::found::consul_is_asked_at_its_address_for_the_datacenter_with_the_token_and_believed_as_far_as_it_may_be",
    ),
    (
        "registries.NAME.path",
        "operate::keys::found::names_lead_to_services_of_the_registry_by_suffixes_and_within_what_is_allowed",
    ),
    (
        "defaults",
        "operate::keys::services::policies_of_a_route_win_over_those_of_its_service_and_these_over_the_defaults",
    ),
    ("defaults.timeout", "resilience::attempts::a_request_without_an_answer_in_time_is_a_504_that_says_so"),
    (
        "defaults.connect_timeout",
        "resilience::attempts::a_connection_that_is_not_made_in_time_moves_a_request_to_another_instance",
    ),
    ("defaults.retries", "resilience::attempts::attempts_are_bounded_and_each_goes_to_another_instance"),
    ("defaults.retries.max", "resilience::attempts::attempts_are_bounded_and_each_goes_to_another_instance"),
    (
        "defaults.retries.budget",
        "operate::keys::attempts::the_budget_is_a_share_of_requests_and_the_floor_is_tokens_a_second",
    ),
    (
        "defaults.retries.min_per_second",
        "operate::keys::attempts::the_budget_is_a_share_of_requests_and_the_floor_is_tokens_a_second",
    ),
    ("defaults.retries.any_method", "operate::keys::attempts::a_post_is_tried_again_where_any_method_may_be"),
    ("defaults.per_try_timeout", "operate::keys::attempts::a_try_is_stuck_after_the_time_that_was_given_or_never"),
    (
        "defaults.per_try_timeout.multiple",
        "operate::keys::attempts::what_is_learned_of_a_route_is_multiplied_and_kept_between_floor_and_ceiling",
    ),
    (
        "defaults.per_try_timeout.floor",
        "operate::keys::attempts::what_is_learned_of_a_route_is_multiplied_and_kept_between_floor_and_ceiling",
    ),
    (
        "defaults.per_try_timeout.ceiling",
        "operate::keys::attempts::a_try_is_stuck_after_the_time_that_was_given_or_never",
    ),
    ("defaults.hedge", "operate::keys::attempts::hedges_are_no_more_than_their_share_of_requests"),
    ("defaults.hedge.share", "operate::keys::attempts::hedges_are_no_more_than_their_share_of_requests"),
    (
        "defaults.hedge.floor",
        "operate::keys::attempts::what_is_learned_of_a_route_is_multiplied_and_kept_between_floor_and_ceiling",
    ),
    ("defaults.hold", "operate::keys::attempts::answers_up_to_a_size_are_held_and_larger_ones_not"),
    ("defaults.hold.max_size", "operate::keys::attempts::answers_up_to_a_size_are_held_and_larger_ones_not"),
    (
        "defaults.hold.unknown_for",
        "operate::keys::attempts::an_answer_of_unknown_length_that_breaks_off_while_it_is_held_is_asked_for_again",
    ),
    (
        "defaults.outlier",
        "resilience::availability::availability_is_told_before_and_after_with_what_rescued_and_what_was_lost",
    ),
    (
        "defaults.outlier.consecutive",
        "operate::keys::blame::an_instance_is_left_out_after_so_many_failures_in_a_row_and_for_so_long",
    ),
    ("defaults.outlier.failure_share", "operate::keys::blame::a_share_of_failures_counts_from_so_many_attempts_on"),
    ("defaults.outlier.min_attempts", "operate::keys::blame::a_share_of_failures_counts_from_so_many_attempts_on"),
    ("defaults.outlier.latency_factor", "operate::keys::blame::a_latency_counts_from_so_many_times_its_peers_on"),
    (
        "defaults.outlier.base_ejection",
        "operate::keys::blame::an_instance_is_left_out_after_so_many_failures_in_a_row_and_for_so_long",
    ),
    ("defaults.outlier.max_ejection", "operate::keys::blame::no_ejection_is_longer_than_the_longest"),
    ("defaults.outlier.max_ejected", "operate::keys::blame::no_larger_share_of_a_pool_is_left_out_than_may_be"),
    (
        "defaults.breaker",
        "operate::keys::blame::a_breaker_opens_after_so_many_failures_and_so_long_a_silence_and_lets_one_through_now_and_then",
    ),
    (
        "defaults.breaker.consecutive",
        "operate::keys::blame::a_breaker_opens_after_so_many_failures_and_so_long_a_silence_and_lets_one_through_now_and_then",
    ),
    (
        "defaults.breaker.silence",
        "operate::keys::blame::a_breaker_opens_after_so_many_failures_and_so_long_a_silence_and_lets_one_through_now_and_then",
    ),
    (
        "defaults.breaker.probe_every",
        "operate::keys::blame::a_breaker_opens_after_so_many_failures_and_so_long_a_silence_and_lets_one_through_now_and_then",
    ),
    (
        "defaults.limit",
        "resilience::limits::what_finds_no_room_waits_its_turn_and_no_more_are_at_the_service_than_may_be",
    ),
    (
        "defaults.limit.max_in_flight",
        "resilience::limits::what_finds_no_room_waits_its_turn_and_no_more_are_at_the_service_than_may_be",
    ),
    (
        "defaults.limit.adaptive",
        "operate::keys::services::an_overloaded_service_gets_a_bound_by_itself_unless_that_is_switched_off",
    ),
    (
        "defaults.limit.queue",
        "operate::keys::services::a_queue_is_shared_out_among_workers_of_which_each_lets_one_wait_and_none_where_it_is_zero",
    ),
    (
        "defaults.limit.queue_timeout",
        "resilience::limits::who_has_waited_long_enough_is_refused_and_who_goes_away_leaves_no_place_taken",
    ),
    ("defaults.bulkhead", "resilience::limits::a_caller_that_has_used_up_its_part_is_refused_and_no_other_is"),
    (
        "defaults.bulkhead.per",
        "operate::keys::services::a_route_has_a_part_of_the_service_and_says_what_its_requests_are_worth",
    ),
    (
        "defaults.bulkhead.max_in_flight",
        "operate::keys::services::a_route_has_a_part_of_the_service_and_says_what_its_requests_are_worth",
    ),
    (
        "defaults.priority",
        "operate::keys::services::a_route_has_a_part_of_the_service_and_says_what_its_requests_are_worth",
    ),
    (
        "defaults.health_check",
        "operate::keys::services::a_check_asks_a_port_by_a_name_within_a_time_and_counts_what_it_hears",
    ),
    (
        "defaults.health_check.http",
        "operate::keys::services::a_check_asks_a_port_by_a_name_within_a_time_and_counts_what_it_hears",
    ),
    (
        "defaults.health_check.host",
        "operate::keys::services::a_check_asks_a_port_by_a_name_within_a_time_and_counts_what_it_hears",
    ),
    (
        "defaults.health_check.tcp",
        "health::an_instance_that_cannot_be_connected_to_is_left_out_by_its_tcp_check_until_it_can",
    ),
    ("defaults.health_check.grpc", "health::a_grpc_server_says_by_its_health_service_whether_it_takes_requests"),
    (
        "defaults.health_check.port",
        "operate::keys::services::a_check_asks_a_port_by_a_name_within_a_time_and_counts_what_it_hears",
    ),
    (
        "defaults.health_check.interval",
        "operate::keys::services::a_check_asks_a_port_by_a_name_within_a_time_and_counts_what_it_hears",
    ),
    (
        "defaults.health_check.timeout",
        "operate::keys::services::a_check_asks_a_port_by_a_name_within_a_time_and_counts_what_it_hears",
    ),
    (
        "defaults.health_check.healthy",
        "operate::keys::services::a_check_asks_a_port_by_a_name_within_a_time_and_counts_what_it_hears",
    ),
    (
        "defaults.health_check.unhealthy",
        "operate::keys::services::a_check_asks_a_port_by_a_name_within_a_time_and_counts_what_it_hears",
    ),
    (
        "defaults.health_check.keep_absent",
        "health::an_instance_that_its_registry_has_lost_stays_for_a_while_as_long_as_it_is_well",
    ),
    (
        "defaults.slow_start",
        "operate::keys::services::an_instance_that_joins_gets_its_share_little_by_little_or_at_once",
    ),
    (
        "defaults.fallback",
        "resilience::fallback::a_fixed_answer_stands_in_for_a_service_that_failed_whatever_the_method",
    ),
    ("defaults.fallback.stale", "operate::keys::attempts::a_copy_is_of_use_until_so_long_past_its_freshness"),
    (
        "defaults.fallback.service",
        "resilience::fallback::another_service_answers_for_one_that_failed_but_not_a_post_that_may_have_been_carried_out",
    ),
    (
        "defaults.fallback.status",
        "resilience::fallback::a_fixed_answer_stands_in_for_a_service_that_failed_whatever_the_method",
    ),
    (
        "defaults.fallback.headers",
        "resilience::fallback::a_fixed_answer_stands_in_for_a_service_that_failed_whatever_the_method",
    ),
    (
        "defaults.fallback.body",
        "resilience::fallback::a_fixed_answer_stands_in_for_a_service_that_failed_whatever_the_method",
    ),
    ("defaults.balance", "resilience::balance::weights_are_shares"),
    ("defaults.protocol", "protocol::bodies::http1_to_http2_carries_bodies_and_trailers_whole"),
    (
        "defaults.request_trailers",
        "operate::keys::services::what_follows_a_body_goes_to_instances_that_are_said_to_keep_it_apart_and_to_no_others",
    ),
    ("defaults.max_connections", "resilience::balance::connections_to_an_instance_are_kept_and_capped"),
    ("defaults.max_idle", "operate::keys::services::idle_connections_are_kept_as_many_and_as_long_as_they_may"),
    ("defaults.idle_timeout", "operate::keys::services::idle_connections_are_kept_as_many_and_as_long_as_they_may"),
    ("services", "operate::keys::found::a_declared_service_has_its_registry_its_name_there_and_an_address_of_its_own"),
    (
        "services.NAME.registry",
        "operate::keys::found::a_declared_service_has_its_registry_its_name_there_and_an_address_of_its_own",
    ),
    (
        "services.NAME.name",
        "operate::keys::found::a_declared_service_has_its_registry_its_name_there_and_an_address_of_its_own",
    ),
    ("services.NAME.instances", "resilience::balance::weights_are_shares"),
    ("services.NAME.instances[].address", "resilience::balance::weights_are_shares"),
    ("services.NAME.instances[].weight", "resilience::balance::weights_are_shares"),
    (
        "services.NAME.port",
        "operate::keys::found::a_declared_service_has_its_registry_its_name_there_and_an_address_of_its_own",
    ),
    (
        "services.NAME.listen",
        "operate::keys::found::a_declared_service_has_its_registry_its_name_there_and_an_address_of_its_own",
    ),
    ("routes", "operate::keys::found::a_route_is_chosen_by_host_path_and_method"),
    ("routes[].host", "operate::keys::found::a_route_is_chosen_by_host_path_and_method"),
    ("routes[].path", "operate::keys::found::a_route_is_chosen_by_host_path_and_method"),
    ("routes[].path.exact", "operate::keys::found::a_route_is_chosen_by_host_path_and_method"),
    ("routes[].methods", "operate::keys::found::a_route_is_chosen_by_host_path_and_method"),
    ("routes[].service", "operate::keys::found::a_route_is_chosen_by_host_path_and_method"),
    ("names", "operate::keys::found::names_lead_to_services_of_the_registry_by_suffixes_and_within_what_is_allowed"),
    (
        "names.enabled",
        "operate::keys::found::names_lead_to_services_of_the_registry_by_suffixes_and_within_what_is_allowed",
    ),
    (
        "names.registry",
        "operate::keys::found::names_lead_to_services_of_the_registry_by_suffixes_and_within_what_is_allowed",
    ),
    (
        "names.suffixes",
        "operate::keys::found::names_lead_to_services_of_the_registry_by_suffixes_and_within_what_is_allowed",
    ),
    (
        "names.allow",
        "operate::keys::found::names_lead_to_services_of_the_registry_by_suffixes_and_within_what_is_allowed",
    ),
    ("names.max_watches", "operate::keys::found::so_many_names_are_followed_and_each_for_as_long_as_it_is_used"),
    ("names.unused_after", "operate::keys::found::so_many_names_are_followed_and_each_for_as_long_as_it_is_used"),
    ("names.unknown", "registry::a_host_that_is_no_service_is_refused_or_forwarded_as_it_is"),
    ("admin", "operate::keys::process::the_admin_api_answers_to_its_names_and_changes_need_its_token"),
    ("admin.enabled", "operate::keys::process::the_admin_api_is_where_it_was_put_or_nowhere"),
    ("admin.address", "operate::keys::process::the_admin_api_is_where_it_was_put_or_nowhere"),
    ("admin.hosts", "operate::keys::process::the_admin_api_answers_to_its_names_and_changes_need_its_token"),
    ("admin.token_file", "operate::keys::process::the_admin_api_answers_to_its_names_and_changes_need_its_token"),
    ("admin.endpoint_metrics", "resilience::endpoints::the_series_of_endpoints_can_be_switched_off"),
    ("faults", "faults::safety::in_production_faults_are_refused_unless_they_were_allowed_at_the_start"),
    ("faults.enabled", "faults::safety::in_production_faults_are_refused_unless_they_were_allowed_at_the_start"),
    ("faults.max_active", "operate::keys::process::faults_reach_as_far_as_they_may_and_no_further"),
    ("faults.max_requests", "operate::keys::process::faults_reach_as_far_as_they_may_and_no_further"),
    ("faults.max_endpoints", "operate::keys::process::faults_reach_as_far_as_they_may_and_no_further"),
    ("faults.max_ttl", "operate::keys::process::faults_reach_as_far_as_they_may_and_no_further"),
    ("faults.audit_log", "operate::keys::process::what_is_done_with_faults_is_a_line_of_the_audit_log"),
    (
        "faults.toxiproxy",
        "operate::keys::process::toxiproxys_api_begins_with_its_file_and_shows_the_metrics_that_were_asked_for",
    ),
    (
        "faults.toxiproxy.enabled",
        "operate::keys::process::toxiproxys_api_begins_with_its_file_and_shows_the_metrics_that_were_asked_for",
    ),
    (
        "faults.toxiproxy.address",
        "operate::keys::process::toxiproxys_api_begins_with_its_file_and_shows_the_metrics_that_were_asked_for",
    ),
    (
        "faults.toxiproxy.populate",
        "operate::keys::process::toxiproxys_api_begins_with_its_file_and_shows_the_metrics_that_were_asked_for",
    ),
    (
        "faults.toxiproxy.metrics",
        "operate::keys::process::toxiproxys_api_begins_with_its_file_and_shows_the_metrics_that_were_asked_for",
    ),
    (
        "faults.toxiproxy.runtime_metrics",
        "operate::keys::process::toxiproxys_api_begins_with_its_file_and_shows_the_metrics_that_were_asked_for",
    ),
    ("faults.start", "operate::keys::process::faults_of_the_configuration_are_what_was_written"),
    ("faults.start[].name", "faults::edge::an_abort_at_the_edge_is_what_the_application_gets_and_no_instance_is_asked"),
    ("faults.start[].type", "operate::keys::process::faults_of_the_configuration_are_what_was_written"),
    (
        "faults.start[].attributes",
        "tcp::http::a_latency_delays_answers_over_connections_that_are_kept_and_its_end_is_felt_at_once",
    ),
    ("faults.start[].service", "faults::safety::faults_can_stand_in_the_configuration"),
    ("faults.start[].proxy", "operate::keys::process::faults_of_the_configuration_are_what_was_written"),
    (
        "faults.start[].place",
        "faults::edge::an_abort_at_the_edge_is_what_the_application_gets_and_no_instance_is_asked",
    ),
    ("faults.start[].stream", "tcp::faults::a_slow_reader_behind_a_latency_holds_the_sender_up_and_not_the_memory"),
    ("faults.start[].endpoints", "faults::upstream::a_failing_instance_is_absorbed_and_the_account_says_by_what"),
    ("faults.start[].route", "faults::edge::only_what_is_within_the_scope_is_met"),
    ("faults.start[].methods", "faults::edge::only_what_is_within_the_scope_is_met"),
    ("faults.start[].path", "faults::edge::only_what_is_within_the_scope_is_met"),
    ("faults.start[].headers", "faults::edge::only_what_is_within_the_scope_is_met"),
    ("faults.start[].caller", "faults::edge::only_what_is_within_the_scope_is_met"),
    (
        "faults.start[].percent",
        "faults::accuracy::percentages_are_within_the_binomial_error_of_a_hundred_thousand_requests",
    ),
    ("faults.start[].first", "faults::accuracy::the_first_n_and_every_nth_are_exact"),
    ("faults.start[].every", "faults::accuracy::the_first_n_and_every_nth_are_exact"),
    ("faults.start[].after", "tcp::faults::a_fault_that_begins_later_meets_what_is_open_by_then"),
    ("faults.start[].ttl", "faults::safety::a_fault_ends_by_itself_when_its_time_is_over"),
    ("faults.start[].controller", "faults::guard::whoever_a_guard_has_stopped_learns_it_and_may_not_go_on"),
    ("faults.start[].heartbeat", "outrigger::fault_manager::tests::a_fault_dies_with_its_controller"),
    ("http", "operate::keys::http::a_head_is_read_up_to_its_size_and_its_lines_and_no_further_from_either_side"),
    (
        "http.max_head_size",
        "operate::keys::http::a_head_is_read_up_to_its_size_and_its_lines_and_no_further_from_either_side",
    ),
    (
        "http.max_headers",
        "operate::keys::http::a_head_is_read_up_to_its_size_and_its_lines_and_no_further_from_either_side",
    ),
    ("http.header_timeout", "bad_input::requests::a_client_that_dribbles_its_head_is_cut_off_and_others_are_served"),
    ("http.idle_timeout", "protocol::pace::a_client_without_a_request_is_let_go_after_the_idle_timeout"),
    ("http.stream_idle_timeout", "operate::keys::http::a_body_may_stand_still_for_ever_where_its_timeout_is_off"),
    (
        "http.tunnel_idle_timeout",
        "operate::keys::http::a_tunnel_rests_as_long_as_it_may_and_for_ever_where_that_is_off",
    ),
    ("http.max_connections", "operations::clients_beyond_the_limit_of_connections_do_not_disturb_those_within"),
    (
        "http.trusted_cidrs",
        "outrigger::forward::recovery::tests::the_word_of_a_client_that_is_not_trusted_is_neither_obeyed_nor_passed_on",
    ),
    (
        "http.half_close",
        "operate::keys::http::a_client_that_has_closed_its_sending_side_gets_its_answer_where_half_close_says_so",
    ),
    (
        "http.deadline_header",
        "operate::keys::http::the_control_fields_have_the_names_that_they_were_given_and_no_others",
    ),
    (
        "http.priority_header",
        "operate::keys::http::the_control_fields_have_the_names_that_they_were_given_and_no_others",
    ),
    ("http.caller_header", "operate::keys::http::the_control_fields_have_the_names_that_they_were_given_and_no_others"),
    ("http.max_held", "operate::keys::http::answers_are_held_up_to_so_many_bytes_of_the_process_and_stream_beyond"),
    ("http.max_stale", "operate::keys::http::copies_for_fallbacks_are_kept_up_to_so_many_bytes_of_the_process"),
    ("http.max_buffered", "protocol::pressure::partial_heads_take_no_more_memory_than_they_may_and_give_it_back"),
    (
        "http.min_rate",
        "operate::keys::http::a_client_has_to_send_as_fast_as_the_least_rate_and_as_slow_as_it_likes_where_there_is_none",
    ),
    ("shutdown", "operations::a_lame_duck_serves_says_close_and_is_not_ready"),
    ("shutdown.lame_duck", "operations::a_lame_duck_serves_says_close_and_is_not_ready"),
    ("shutdown.deadline", "operations::what_is_in_flight_at_the_deadline_is_cut"),
    ("workers", "operate::keys::process::there_are_as_many_workers_as_were_asked_for"),
    ("access_log", "operate::keys::process::requests_are_logged_where_that_is_wanted_and_nowhere_else"),
    ("query_values", "operate::promises::values_of_queries_are_told_nowhere_unless_that_is_wanted"),
    ("ready_grace", "registry::readiness_does_not_wait_for_a_registry_longer_than_its_grace"),
];
