"""What happened: the journal, its databases, and the lease that says who may write.

Every point at which a process can stop, what the next one makes of it, and the test that stops it there. The journal is
the truth about what happened, the checkpoint only the cursor: it may be any number of seconds older.

======================================================================================================================
where it stopped
    what the next one does
    its test
======================================================================================================================
the agent gave a plan, which was not written down
    asks the agent again: nothing had happened
    test_a_plan_that_was_not_written_down_is_asked_for_again_and_had_no_effect
planned, not checkpointed
    takes the plan that is written down
    test_a_plan_that_was_written_down_is_not_asked_for_again
    test_a_plan_that_replaced_another_is_not_asked_for_again
    test_a_plan_after_a_failed_planner_call_is_not_asked_for_again
a plan was judged not to be enough, and the next one begun, not checkpointed
    goes on to the next one, and asks for no judgement again
    test_what_was_missing_is_not_judged_again_where_the_next_plan_is_begun
interrupted between planning and execution
    executes the plan that it left
    test_a_run_that_is_interrupted_between_planning_and_execution_keeps_its_plan
validated, nothing begun
    executes that plan
    test_a_validated_plan_is_executed_by_the_next_process
a given plan was begun, not checkpointed, and policies since then that refuse it
    changes nothing, and says what may have happened: nobody can plan again, and the policies may come back
    test_a_given_plan_that_is_begun_again_under_policies_that_refuse_it_changes_nothing
executing, the intent not written
    begins the effect: it had not happened
    test_an_intent_that_was_not_written_had_no_effect_and_is_begun
an outcome was only in memory when an effect that derives from it was begun
    cannot be: one transaction writes both
    test_an_intent_is_on_disk_with_every_outcome_it_derives_from
    test_an_intent_has_every_outcome_before_it_where_the_one_that_took_them_along_was_refused
    test_every_intent_waits_for_outcomes_on_their_way_and_hears_of_their_failure
intent without outcome, the action can reconcile
    asks the action, and does it only where it did not happen
    test_in_doubt_an_effect_that_is_found_is_not_done_again
    test_in_doubt_an_effect_that_is_not_found_is_done
intent without outcome, the action is idempotent
    calls it again under the same key
    test_in_doubt_an_idempotent_action_is_called_again_under_the_same_key
intent without outcome, and policies since then that ask about it
    asks, where no person had approved it before it was begun
    test_what_policy_lets_happen_no_more_without_a_person_is_not_done_again_without_one
    test_an_approval_that_has_not_expired_covers_what_was_begun_under_it
    test_what_a_person_says_of_what_was_begun_counts
    test_what_was_approved_although_it_was_begun_is_begun_again_under_the_same_key_and_nobody_is_asked
intent without outcome, any other action
    asks a person
    test_in_doubt_a_person_says_what_becomes_of_it
    test_in_doubt_a_person_gives_it_up_and_the_next_plan_does_without
    test_what_is_in_doubt_is_asked_about_also_where_its_action_is_declared_without_effect_by_now
the act was cut, and goes on in the same process
    asks a person: what `reconcile` sees may change at any moment
    test_a_reconcile_that_says_no_is_not_believed_while_the_act_goes_on
the act was cut, and goes on in its process; another one comes
    is refused until the act has ended: the lease is given back then, and the action is asked
    test_another_process_waits_for_an_act_that_was_cut_and_goes_on
    test_a_lease_is_kept_from_others_until_the_last_act_of_its_run_has_ended
    test_the_same_process_goes_on_while_an_act_of_its_run_goes_on
the effect took place, and what it gave cannot be used; or it was given up in doubt
    asks before an equal effect of another plan is done
    test_an_effect_that_gave_what_nobody_can_use_is_not_done_again_by_another_plan
    test_an_effect_that_was_given_up_in_doubt_is_asked_about_before_it_is_done_again
    test_what_happened_as_somebody_said_of_a_refused_effect_is_not_asked_about_again
a person gave the result of an effect in doubt, and a step of a later plan that it counts for cannot use it
    asks again: what a person said is taken back by a person only, who gives another result or has it done again
    test_a_result_that_a_person_gave_and_a_later_step_cannot_use_is_asked_for_again
    test_an_effect_whose_given_result_fits_no_more_is_done_again_where_a_person_says_so
    test_an_effect_whose_given_result_fits_no_more_outlives_every_kill
    test_a_given_result_that_takes_the_place_of_an_unfit_one_counts_although_its_process_was_killed
    test_what_is_done_again_in_place_of_an_unfit_given_result_is_in_doubt_itself_when_its_process_is_killed
    test_a_result_of_the_action_itself_that_a_later_step_cannot_use_is_a_failure
intent without outcome, and its plan was replaced all the same: policy refuses it now, or another question was rejected
    asks the action before it plans again, nobody of what is idempotent, else a person; and does nothing until then
    test_what_a_replaced_plan_left_in_doubt_is_found_out_or_done_under_the_same_key_and_nobody_is_asked
    test_what_a_replaced_plan_left_in_doubt_is_settled_before_the_next_plan
    test_what_a_replaced_plan_left_in_doubt_is_asked_about_while_its_act_goes_on_and_found_out_afterwards
what a replaced plan left in doubt was found out, and is not written down; or is, and not checkpointed
    asks the action again, which has no effect; or tells the planner what is written
    test_a_kill_while_what_a_replaced_plan_left_in_doubt_is_settled_changes_nothing
a person gave the result of what was begun and did not happen, and its plan was replaced
    takes the result for that step only: an equal call of the new plan is decided on anew
    test_a_result_given_in_place_of_what_was_begun_and_did_not_happen_is_no_effect_of_a_later_plan
what a replaced plan left in doubt was answered, not checkpointed
    takes the answer, whatever the action says by now
    test_what_a_person_said_of_a_replaced_effect_counts_although_its_process_was_killed
what a person said of a refused effect beside a rejection was written down, not checkpointed
    takes what is written, and plans again
    test_what_a_person_said_of_a_refused_effect_is_written_once_although_its_process_was_killed
an idempotent effect was lost sight of in every attempt, not found by its action, and its plan replaced
    calls it under the same key where the new plan has an equal one, once that is decided on anew
    test_an_idempotent_effect_that_was_lost_sight_of_in_every_attempt_is_looked_for
    test_an_idempotent_effect_that_was_lost_sight_of_is_done_by_another_plan_under_the_same_key
    test_an_equal_effect_of_another_plan_is_decided_on_for_that_plan_although_it_was_begun
    test_what_a_person_gave_up_in_doubt_is_decided_on_again_where_its_reconcile_finds_it_did_not_happen
intent without outcome, and to do it again is refused, denied or rejected, or has no secret
    keeps in mind that it may have happened: another plan calls it under the same key, or asks
    test_what_was_in_doubt_may_have_happened_also_where_something_keeps_it_from_being_done_again
    test_what_a_person_had_done_again_and_was_refused_is_asked_about_before_another_plan_does_it
intent without outcome, and a subclass chooses no further step
    settles it as if it was chosen: only what was not begun is skipped
    test_in_doubt_a_step_is_settled_also_where_a_subclass_chooses_no_further_one
    test_what_is_in_doubt_is_asked_about_also_where_a_subclass_chooses_no_further_step
intent without outcome, and another step of the plan, or another item, failed, or another question was rejected
    settles what is in doubt first, and plans again only then
    test_a_failure_beside_an_effect_in_doubt_waits_until_that_is_settled
    test_a_failed_item_beside_one_in_doubt_waits_until_that_is_settled
    test_a_rejection_beside_an_effect_in_doubt_waits_until_that_is_settled
outcome without checkpoint
    takes the outcome
    test_an_outcome_without_a_checkpoint_is_the_outcome
a step was done, and the plan was replaced
    recognises an equal effect of the new plan by its content, and holds its result to the checks of the new step
    test_an_effect_that_a_new_plan_takes_over_passes_the_checks_of_its_new_step
    test_an_effect_that_is_done_is_recognised_in_a_new_plan
asked to stop while its process was frozen or gone
    ends it before anything is done where that was a cancel; to go on with it ends a pause
    test_a_run_that_was_cancelled_while_nobody_ran_it_does_nothing_more
    test_a_run_of_a_server_that_was_cancelled_while_nobody_ran_it_does_nothing_more
    test_a_cancel_is_not_forgotten_by_a_process_that_is_killed_before_the_end_is_kept
    test_a_pause_that_nobody_honoured_is_over_when_somebody_goes_on
asked to stop too late, and another run begun on its thread
    forgets it: it was not asked of that one
    test_what_was_asked_of_the_run_before_is_not_asked_of_the_next_one
    test_a_request_is_for_the_run_it_was_made_for_on_a_server
waiting for a person
    waits on: asking has no effect
    test_a_kill_while_a_person_is_asked_changes_nothing
answer row without checkpoint
    takes the answer, and asks nothing
    test_an_answer_row_without_a_checkpoint_is_not_asked_for_again
    test_an_answer_counts_although_its_process_was_killed_right_after_it
answer by `Command(resume=...)`, its row not written
    writes the row, of the value that LangGraph has kept or of a later one, and acts only then
    test_an_answer_by_command_without_a_row_is_acted_on_once
    test_of_two_answers_by_command_the_last_one_counts_where_the_first_has_no_row
answer by `Command(resume=...)`, its row written
    takes the row
    test_an_answer_by_command_becomes_a_row
answer by `Command(resume=...)`, its run done again by a server that asks something else by now
    refuses it: it has counted once
    test_an_answer_by_command_that_a_server_repeats_answers_no_second_question
answer used, the checkpoints since are lost
    goes on by what the journal has: the question is settled
    test_an_answer_that_was_used_counts_although_the_checkpoints_since_are_lost
    test_a_doubt_that_was_settled_is_not_asked_about_although_the_checkpoints_since_are_lost
an effect in doubt was given up, the checkpoints since the question are lost
    plans again: it is not done, whatever its action and the policies say by now
    test_what_a_person_gave_up_is_not_done_where_the_checkpoints_since_the_question_are_lost
a call was edited or given a result, not done so, and policies since then that allow it as it was planned
    asks: other policies do not undo what a person said of it
    test_what_a_person_said_otherwise_is_not_done_unasked_under_policies_that_allow_it_by_now
a call was answered, then begun, and its effect in doubt answered otherwise
    takes the last word: it takes back what was said before
    test_who_gives_up_an_effect_in_doubt_has_taken_back_an_approval_of_its_call
    test_who_wants_an_effect_in_doubt_again_has_taken_back_what_was_given_in_place_of_its_call
grant and intent
    one transaction writes both, so the grant is unused, or the effect is in doubt
    test_an_approval_is_used_up_in_the_transaction_of_its_intent
    test_a_used_approval_is_never_used_again
    test_what_a_reviewer_edited_away_is_never_sent_after_a_crash
an approval expired while the process was dead
    asks again, under an id of its own: the effect had not happened
    test_an_approval_that_expired_while_the_process_was_dead_is_asked_for_again
an approval expired between the decision and its intent
    the transaction is refused, and it is asked again
    test_an_approval_that_expires_before_its_intent_is_written_is_asked_for_again
    test_a_doubt_stays_in_doubt_where_the_approval_to_do_it_again_expired
    test_a_refused_effect_is_still_that_of_its_call_after_the_intent_to_do_it_again_was_refused
an approval expired after its intent was written
    asks again before the effect is done again; about what `reconcile` finds nobody is asked
    test_what_was_begun_under_an_approval_that_expired_since_is_done_again_only_with_a_new_one
    test_what_is_begun_again_just_as_its_approval_expires_is_asked_for_again
an approval expired between two attempts under it
    makes no further attempt, and asks: about an effect that was begun, it says so
    test_no_further_attempt_is_made_under_an_approval_that_expired
nobody answered by the deadline
    writes the rejection as a row, whichever process touches the run first, and plans again
    test_a_deadline_that_passed_while_the_process_was_dead_is_a_rejection
    test_a_rejection_by_the_deadline_without_a_checkpoint_is_the_same_rejection
nobody answered about an effect in doubt
    waits on: silence says nothing of whether it happened
    test_silence_about_an_effect_in_doubt_decides_nothing
two answers at once
    the first one counts, the other is told so
    test_of_answers_at_once_one_counts
    test_of_two_processes_that_resume_with_one_approval_one_runs_and_the_other_is_told
a server lost its last ten seconds of checkpoints, of a run that is inside no other graph
    does them again from the journal: no effect, no question and no planner call is repeated
    test_all_checkpoints_since_the_goal_are_lost_and_nothing_happens_again
    test_a_goal_given_again_where_no_checkpoint_of_its_run_was_kept_goes_on_with_that_run
    test_a_goal_given_again_goes_on_with_its_run_also_where_an_effect_in_doubt_was_begun_again
a killed server was started again inside the lease
    takes the lease of a dead process at once
    test_a_killed_server_repeats_and_loses_nothing_whatever_it_remembers
    test_the_lease_of_a_dead_process_is_taken_at_once
frozen in a step beyond its lease, then awake again
    the one that took over goes on; the act under way is in doubt, and the one that wakes writes nothing
    test_a_process_frozen_beyond_its_lease_writes_nothing_any_more
    test_a_stale_process_that_wakes_after_its_step_writes_nothing
frozen beyond its lease while the agent plans, or reviews the progress
    what the agent said does not count: the one that took over goes on, and the one that wakes ends no run
    test_a_process_that_lost_its_lease_while_its_agent_was_asked_ends_no_run
frozen between two attempts beyond its lease, or cut off from the journal
    makes no further attempt: before each one it asks the journal whether the run is still its own
    test_no_further_attempt_is_made_where_the_lease_is_lost_or_nobody_can_tell
frozen in an act beyond its lease, or gone where nobody can tell, and the action can reconcile
    believes what it found; asks a person where it found nothing, for the one that wakes may do it yet
    test_a_reconcile_that_says_no_is_not_believed_of_an_owner_that_may_only_be_frozen
    test_who_takes_a_lease_that_ran_out_knows_up_to_which_token_what_was_begun_is_unsure
    test_an_act_that_outlives_its_lease_is_unsure_also_after_its_own_process_took_it_and_gave_it_back
frozen after execute, then awake again
    its checkpoint is refused
    test_a_stale_process_that_wakes_after_execute_writes_no_checkpoint
a clock jumped
    the token decides, not the time: of two owners one writes
    test_a_clock_that_jumps_lets_no_two_owners_write
    test_of_two_processes_whose_clocks_differ_one_writes
a clock was set back, or another host's is behind, since a run asked
    goes on from there: checkpoints stand in the order in which they were made
    test_what_goes_on_where_the_clock_was_set_back_is_what_everybody_finds
    test_a_thread_goes_on_where_the_clock_was_set_back
    test_a_run_is_cancelled_where_the_clock_was_set_back
    test_a_graph_alone_goes_on_where_the_clock_was_set_back
    test_a_graph_inside_another_goes_on_where_the_clock_was_set_back
a clock was set back before a second goal on the same thread
    goes on with the second: no time tells which run of a thread has no checkpoint
    test_a_crash_in_a_second_goal_goes_on_with_the_second_also_where_the_clock_was_set_back
    test_the_run_that_is_begun_is_told_also_where_the_clock_was_set_back
forked from an earlier checkpoint
    takes over what was done; where that is all, and it would begin once more, it is refused
    test_a_fork_takes_over_what_was_done
    test_a_fork_of_where_a_run_begins_that_has_ended_is_refused
continued on a copied thread
    refuses, and names the thread to continue on
    test_a_copied_thread_is_refused
in a second goal on the same thread
    goes on with the second; what the first did is the first's
    test_a_crash_in_a_second_goal_goes_on_with_the_second
    test_a_second_goal_on_the_same_thread_does_its_effects_anew
given another goal by a server, with an effect in doubt
    goes on, asks about the effect, and says that the goal was not begun
    test_a_goal_that_a_server_gives_to_a_run_in_doubt_is_not_begun_and_the_run_goes_on
the database went away, became read-only, or was full
    goes on once it is back: an effect begun before is in doubt
    test_a_database_that_goes_in_the_middle_is_one_clear_error_and_the_run_goes_on_later
    test_a_postgres_that_crashes_in_the_middle_is_one_clear_error_and_the_run_goes_on_later
    test_a_device_without_space_is_one_clear_error_and_the_run_goes_on_when_there_is_some
its database file was deleted or replaced while it ran
    it ends before its next effect: nobody would find what it writes
    test_a_database_file_that_is_deleted_in_the_middle_ends_the_run_before_its_next_effect
its checkpoints are gone, or are of another day than the journal
    refuses: to begin again could do effects twice
    test_a_journal_without_its_checkpoint_is_refused_and_repeats_no_effect
    test_a_journal_that_lacks_what_its_checkpoint_has_seen_repeats_nothing
its checkpoint was changed by somebody else
    refuses, and changes nothing
    test_a_corrupt_checkpoint_is_one_clear_error_on_every_way_in_and_nothing_runs
it had used iterations and seconds, not checkpointed
    counts those of the steps that ended by the journal
    test_a_run_that_was_killed_uses_as_many_iterations_as_one_that_was_not
    test_a_run_whose_time_was_up_when_it_was_killed_begins_nothing
    test_a_run_that_is_killed_again_and_again_uses_up_its_time
    test_what_was_given_up_and_what_a_checkpoint_has_forgotten_is_no_further_iteration
    test_seconds_of_a_foreach_that_ended_before_a_kill_count_beside_those_of_a_checkpoint
inside another graph
    goes on from the journal, also where the outer graph has kept nothing of it
    test_one_that_was_stopped_goes_on_from_the_journal_alone
inside another graph, which had not kept the checkpoint that leads into it
    is another run, which does nothing twice: the first had waited for that checkpoint, and done nothing
    test_a_run_inside_a_graph_that_was_killed_before_it_kept_its_checkpoint_has_done_nothing
    test_nothing_is_done_inside_before_the_checkpoint_that_leads_into_it_is_kept
    test_a_run_inside_a_graph_that_does_not_keep_its_checkpoint_ends_before_anything_is_done
inside another graph, which lost a checkpoint that it had kept, or keeps none before it ends (durability `exit`)
    does everything again: it is another run, and nothing tells that it is not meant to be
    test_a_run_inside_a_graph_that_lost_what_it_had_kept_is_another_run
inside an action, a planner or a review of the progress of a run of ours
    goes on with it: it is named by the call that it is a part of
    test_a_run_inside_a_run_of_ours_that_was_killed_goes_on
    test_every_attempt_at_a_call_goes_on_with_the_runs_inside_it
    test_a_run_inside_a_call_is_shown_as_it_ended_also_where_it_was_cut_before
    test_a_call_that_comes_with_another_goal_or_plan_is_no_further_attempt_at_the_run_of_the_first
    test_runs_inside_each_other_are_found_again_at_every_level
inside an action, a planner or a review of the progress of a run of ours, and it asks a person
    leaves the step in doubt, or ends the run where its planner or the review waits; what it did is done no second time
    test_a_run_inside_a_run_of_ours_that_is_in_doubt_is_not_done_again
    test_who_calls_a_graph_that_waits_for_a_person_does_what_it_has_done_no_second_time
    test_an_idempotent_step_whose_graph_waits_for_a_person_is_in_doubt_and_not_tried_again
around a run that an action gave a thread of its own, with the name of its call's key
    finds that run again, which takes no second goal; goes on with it where it is not over, as a person says
    test_a_run_on_a_thread_of_its_own_is_found_again_when_the_process_around_it_was_killed
    test_a_run_on_a_thread_of_its_own_that_is_not_over_is_gone_on_with_there
    test_a_thread_with_the_name_of_a_call_takes_one_goal
while it removed runs that are over
    each is gone or there as a whole; the next `prune` removes the others, and what they shared
    test_a_prune_that_is_cut_is_finished_by_the_next_one_and_refuses_no_goal
    test_a_prune_of_runs_inside_each_other_that_is_cut_is_finished_by_the_next_one
    test_a_prune_that_was_frozen_beyond_its_lease_removes_nothing_more
between two nodes of a subclass that does a transition itself
    takes over what the node wrote, and goes on
    test_a_subclass_that_walks_goes_on_wherever_it_was_killed
anywhere at all
    nothing twice, nothing lost
    test_killed_at_random_instants_nothing_happens_twice_and_nothing_is_lost
    test_the_command_killed_at_random_instants_does_nothing_twice_and_loses_nothing
    test_killed_in_two_branches_no_output_is_handed_to_the_wrong_step
======================================================================================================================
"""
