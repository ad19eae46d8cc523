package gitsync

import (
	"errors"
	"fmt"
	"strings"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/gitsync/apply"
	"github.com/siskin-dev/siskin/pkg/gitsync/build"
	"github.com/siskin-dev/siskin/pkg/gitsync/fetch"
)

// objectsError : the API server refused objects.
type objectsError struct {
	reason, what string
	failures     []apply.Failure
}

func (e *objectsError) Error() string {
	const most = 3
	var parts []string
	for i, f := range e.failures {
		if i == most {
			parts = append(parts, fmt.Sprintf("and %d more in status.failures", len(e.failures)-most))
			break
		}
		parts = append(parts, apply.Describe(f.Ref)+": "+f.Message())
	}
	return e.what + ": " + strings.Join(parts, "; ")
}

// judge names an error for people: the reason, one sentence with what to do, and whether the same commit will fail again
// however often it is tried.
func judge(gs *siskinv1.GitSync, revision string, err error) (o outcome, final bool) {
	at := ""
	if revision != "" {
		at = " at " + short(revision)
	}
	if e, ok := errors.AsType[*fetch.SpecError](err); ok {
		return outcome{reason: siskinv1.GitSyncInvalidSpec, message: e.Error(), stalled: true}, false
	}
	if e, ok := errors.AsType[*fetch.SecretError](err); ok {
		name := ""
		if gs.Spec.SecretRef != nil {
			name = fmt.Sprintf("Secret %s/%s: ", gs.Namespace, gs.Spec.SecretRef.Name)
		}
		return outcome{reason: siskinv1.GitSyncSecretInvalid, message: name + e.Error()}, false
	}
	if e, ok := errors.AsType[*fetch.AuthError](err); ok {
		return outcome{reason: siskinv1.GitSyncAuthenticationFailed, message: e.Error()}, false
	}
	if e, ok := errors.AsType[*fetch.NotFoundError](err); ok {
		return outcome{reason: siskinv1.GitSyncRefNotFound, message: fmt.Sprintf("%s; check spec.url and spec.ref (%s)", e, gs.Spec.URL)}, false
	}
	if e, ok := errors.AsType[*build.PathError](err); ok {
		return outcome{reason: siskinv1.GitSyncPathNotFound, message: "spec.path" + at + ": " + e.Error() + "; nothing was applied or pruned"}, true
	}
	if e, ok := errors.AsType[*build.Error](err); ok {
		return outcome{reason: siskinv1.GitSyncBuildFailed, message: e.Error() + " (" + strings.TrimPrefix(at, " ") + "); nothing was applied or pruned"}, true
	}
	if e, ok := errors.AsType[*build.LimitError](err); ok {
		return outcome{
			reason: siskinv1.GitSyncBuildLimitExceeded, slow: true,
			message: fmt.Sprintf("the build%s was ended: %s; nothing was applied or pruned; split the directory, or make it smaller", at, e),
		}, false
	}
	if e, ok := errors.AsType[*objectsError](err); ok {
		return outcome{reason: e.reason, message: e.Error()}, false
	}
	return outcome{reason: siskinv1.GitSyncGitOperationFailed, message: strings.Join(strings.Fields(err.Error()), " ")}, false
}
