// Package cutover decides how far the move of a domain has come, whether it is
// safe to switch its delivery, and whether it is safe to stop the old server.
// The decisions are pure functions of facts with the time handed in; what DNS
// says is gathered by an [Asker].
//
// Invariants:
//   - What is not known is never taken for old or new.
//   - Every verdict that says no has a blocking reason, and every reason says
//     what to do.
package cutover
