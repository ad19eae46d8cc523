package plan

import (
	"fmt"
	"time"
)

// annotate is a person who asks for something.
func (w *simulation) annotate(value, by string) {
	w.notef("        request %q by %q", value, by)
	w.user.request, w.user.by = value, by
	w.poke()
}

// fresh makes a value that was not used before.
func (w *simulation) token(verb string) string {
	w.user.tokens++
	return fmt.Sprintf("%s@%d", verb, w.user.tokens)
}

func (w *simulation) someRequest() {
	by := pick(w, "", "jane", "joe")
	rev := fmt.Sprintf("r%d", 1+w.rng.IntN(6)) // r6 was never seen
	switch w.rng.IntN(18) {
	case 0, 1, 2:
		w.annotate(w.token("promote"), by)
	case 3:
		w.annotate(w.token("promote/"+rev), by)
	case 4:
		w.annotate(w.token(pick(w, "abort", "abort/"+rev)), by)
	case 5:
		w.annotate(w.token(pick(w, "retry", "retry/"+rev)), by)
	case 6, 7, 8:
		w.annotate(w.token("pause"), by)
	case 9, 10, 11:
		w.annotate(w.token("resume"), by)
	case 12:
		w.annotate(w.token("rollback"), by)
	case 13, 14:
		w.annotate(w.token("rollback/"+rev), by)
	case 15:
		w.annotate(w.token(pick(w, "promot", "rollback/", "pause/", "/", "promote rollback")), by)
	case 16: // an apply that writes the same again, or takes it away
		w.annotate(pick(w, w.user.request, " "+w.user.request+" ", ""), w.user.by)
	case 17:
		w.annotate(w.token(" pause "), by)
		w.at(w.between(time.Second, 3*time.Minute), func() { w.annotate(w.token("resume"), by) })
	}
}

// collect takes old snapshots away, as Siskin and people do.
func (w *simulation) collect() {
	z := w.state
	used := map[string]bool{z.Stable: true, z.Candidate: true, z.Rejected: true, w.target.rev: true, w.primary.rev: true, w.canary.rev: true}
	if w.rng.IntN(3) > 0 {
		used[z.Previous] = true // Siskin keeps it; a person may not
	}
	for _, rev := range w.kept() {
		if !used[rev] {
			w.notef("        the snapshot of %s is collected", rev)
			delete(w.stored, rev)
			w.poke()
		}
	}
}
