//! The promises of the bus, each tested on both substrates: in memory and on a real nats-server.
#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

mod cluster;
mod fencing;
mod fixture;
mod follow;
mod gap_work;
mod gaps;
mod heartbeats;
mod limits;
mod messages;
mod nats;
mod overrun;
mod raw;
mod remade;
mod reshard;
mod stalled;
mod streams;
mod successor;
mod too_large;
mod trace;
mod work;

/// Runs each test once on each substrate.
macro_rules! on_each_substrate {
    ($($module:ident: $($test:ident),+;)+) => {
        mod embedded {
            $($(
                #[tokio::test]
                async fn $test() {
                    crate::$module::$test(crate::fixture::Substrate::Embedded).await;
                }
            )+)+
        }

        mod jetstream {
            $($(
                #[tokio::test]
                async fn $test() {
                    crate::$module::$test(crate::fixture::Substrate::JetStream).await;
                }
            )+)+
        }
    };
}

on_each_substrate! {
    streams:
        streams_are_made_once,
        another_shard_count_is_refused,
        who_reads_only_checks,
        limits_are_updated;
    raw:
        every_tick_arrives_in_order,
        ticks_gather_while_one_batch_is_in_flight,
        a_full_buffer_makes_the_caller_wait,
        subjects_lead_to_the_shard_of_the_test_vector;
    heartbeats:
        a_heartbeat_goes_alone_or_behind_the_ticks,
        of_one_product_one_heartbeat_waits;
    gaps:
        the_newest_gap_of_each_product_is_recovered,
        a_gap_is_not_told_by_who_does_not_know_the_ticks,
        a_gap_is_not_told_by_who_does_not_know_the_gaps,
        who_owns_nothing_fences_nobody;
    fencing:
        a_subject_that_aged_out_starts_again,
        a_lost_acknowledgement_is_found,
        an_own_earlier_message_asks_for_recovery,
        many_products_are_published_together,
        who_started_earlier_is_fenced,
        who_started_later_takes_over,
        a_shard_recovers_what_is_its_own,
        a_batch_says_which_raw_stream_it_was_made_from;
    work:
        a_dead_owners_messages_come_first,
        a_late_redelivery_restores_the_order,
        a_rival_causes_no_disorder,
        a_cancelled_fetch_loses_nothing,
        acknowledged_work_leaves_the_queue,
        history_is_read_on_from_the_acknowledged,
        an_empty_queue_ends_with_the_wait,
        lag_is_told;
    gap_work:
        what_is_said_of_gaps_comes_until_it_is_acknowledged,
        rejects_are_counted_by_product;
    follow:
        four_followers_see_every_tick,
        one_message_is_found_by_its_number,
        a_late_follower_starts_with_the_last_of_each,
        a_follower_starts_with_what_is_recent,
        what_is_gone_is_told_with_its_range,
        an_empty_stream_is_at_its_end,
        snapshots_are_followed_without_gaps;
    messages:
        snapshots_replace_one_another,
        statuses_replace_one_another,
        events_are_stored_once,
        rejects_are_stored_once,
        a_reject_is_recovered_however_old_it_is,
        the_newest_batches_are_found;
    successor:
        a_successor_started_later_and_still_speaks;
    overrun:
        what_aged_out_unread_is_told_per_product,
        what_was_read_in_time_is_no_overrun,
        a_message_that_is_given_up_is_filed_tick_by_tick;
    limits:
        a_full_work_queue_refuses_and_recovers,
        full_history_drops_the_oldest;
    trace:
        the_trace_goes_with_the_message;
}
