// Package remote speaks IMAP. It implements the source and the destination of
// a pass over connections of its own.
//
// Invariants:
//   - Every octet to a server goes through an allow-list of verbs (verbs.go):
//     the source is only read, and the destination never sees CLOSE, a plain
//     EXPUNGE, DELETE or RENAME.
//   - There is no fall-back from TLS to clear text. What a server says before
//     TLS is forgotten, and octets that come together with STARTTLS's OK, or a
//     PREAUTH before TLS, end the connection (RFC 8314, RFC 3501 §6.2.1).
//   - A secret goes only into the log-in itself: not into traces, errors or logs,
//     not even where the server says it back. One that a server has judged is not
//     shown to it again (login.go), and an OK is believed only at the end of a
//     log-in, with SCRAM after the server has proved itself.
//   - All that is said is read here, and what makes no sense is left out or ends
//     the connection: a response is small enough to be kept (response.go), or
//     passes by as it comes (row.go).
//   - A server that stalls while an answer is due ends the connection after the
//     progress timeout; a connection on which nothing is due may wait for ever.
//   - One goroutine uses a connection at a time. A context that ends closes the
//     transport.
package remote
