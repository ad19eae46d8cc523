package apply

import (
	"context"
	"errors"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/siskin-dev/siskin/pkg/gitsync/inventory"
)

// RefusedError : GitSync itself refuses an object.
type RefusedError struct{ Msg string }

func (e *RefusedError) Error() string { return e.Msg }

// Failure is one object that could not be applied or pruned.
type Failure struct {
	Ref inventory.Ref
	Err error
}

// Message is the reason in one line. Of Secrets only the fields are told: the API server repeats values.
func (f Failure) Message() string {
	const limit = 400
	s := f.Err.Error()
	status, isStatus := errors.AsType[*apierrors.StatusError](f.Err)
	switch {
	case errors.Is(f.Err, context.DeadlineExceeded):
		s = "the API server did not answer within the timeout"
	case isStatus && f.Ref.Group == "" && f.Ref.Kind == "Secret":
		s = "the API server refused it (" + string(status.Status().Reason) + ")"
		if d := status.Status().Details; d != nil {
			fields := make([]string, 0, len(d.Causes))
			for _, c := range d.Causes {
				fields = append(fields, c.Field)
			}
			s += " " + strings.Join(fields, " ")
		}
	}
	s = strings.Join(strings.Fields(s), " ")
	if runes := []rune(s); len(runes) > limit {
		s = string(runes[:limit]) + "…"
	}
	return s
}
