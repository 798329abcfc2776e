// Package rules watches log entries and says when somebody should know.
//
// # Rules
//
// A rule is a name and a text: a condition, some settings, and behind where the
// query of the entries that it is about.
//
//	any where level=fatal                                     each time it is seen
//	count >= 20 in 1m per host where app=nginx status>=500    so many in a window
//	spike 3 in 5m where level>=error                          so many times what the window before had
//	flatline < 1 in 2m per host where app=nginx               too few
//	new issue in 24h where level>=error                       a value that the window did not have
//	distinct user >= 100 in 10m per addr where path=/login    so many different values
//
// Settings, in any order, before where:
//
//	per A, B       count separately for each value of these labels or fields
//	for 30s        the condition must have held for so long
//	realert 10m    tell again that often as long as it holds, and not sooner after it has held before; default 10m
//	severity S     info, warning (default) or critical
//	min 10         of a spike: fewer than that are none
//
// # Model
//
//	entry ──► query matches? ──► key (per) ──► window ──► condition ──► pending ──► firing ──► resolved
//	                                        (hitcounter)            for             realert
//	Tick  ──────────────────────────────────────────────────────►  one Notification a rule: its keys together
//
// Time is passed in: a window ends at the time of the entry when one comes, and
// at the present at a tick. So entries that come late are counted where they
// belong, and fire even if their window is over, and tests need no clock.
//
// # Guarantees
//
//  1. Notifications come out of Tick only, at most one a rule and tick, in the
//     order of rule names. Each key of a rule fires once as long as its
//     condition holds, then again every realert.
//  2. What is silenced or acknowledged is counted and not told.
//  3. Memory is bounded: MaxKeys keys a rule; beyond that the one that was not
//     hit for the longest time is forgotten, and counted. One that fires stays
//     as long as one of the next few does not.
//  4. Rules come and go while entries do. A rule that is set again with the same
//     text keeps its counts.
package rules
