// Package child builds the manifests of a commit in a process of its own, which cannot reach a network, a file or another
// program, and which is ended when it takes too much: what a tenant's repository holds can break its own build and nothing
// else.
//
//	controller                          child (the same program, verb "build")
//	Builder.Build ── the list of files ─▶ Serve: confine, then kustomize
//	              ◀─ "read this file" ──
//	              ── its content ───────▶
//	              ◀─ objects or an error ──
//
// Both talk over the child's standard input and output, in frames of one byte for the kind, four for the length (big endian)
// and the content. A child gets the files that its build reads and no others.
package child
