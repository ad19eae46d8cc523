// Package plan decides what a rollout does next. It is pure: no I/O, no clock, no Kubernetes types; the same Snapshot gives the
// same Decision. The shell around it observes, stores Decision.Next, carries the effects out and then tells people.
//
//	Initializing ─► Initialized ──new revision──► Waiting ─gates agree─► Progressing ─last step passed─► WaitingPromotion
//	                    ▲   ▲                                              │     │                            │ gates agree
//	     target returned│   └─ every later phase that idles:               │     └───── no such gates ──► Promoting
//	                    │      Succeeded, Failed, Cancelled                ▼                                  │ primary ready
//	                  Failed ◄────── traffic confirmed ────────────── RollingBack ◄── primary not ready ──────┤
//	                  Cancelled ◄──────────┘                                                    Succeeded ◄───┘
package plan
