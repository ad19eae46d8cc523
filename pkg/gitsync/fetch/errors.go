package fetch

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/transport"
)

// SpecError : only an edit of the GitSync helps.
type SpecError struct{ Msg string }

func (e *SpecError) Error() string { return e.Msg }

// SecretError : the Secret with the credentials lacks something.
type SecretError struct{ Msg string }

func (e *SecretError) Error() string { return e.Msg }

// AuthError : the server refused the credentials, or is not the server that known_hosts describes.
type AuthError struct{ Msg string }

func (e *AuthError) Error() string { return e.Msg }

// NotFoundError : the server has no such repository, branch, tag or commit.
type NotFoundError struct {
	// What is "repository", "branch", "tag" or "commit".
	What string
	Name string
}

func (e *NotFoundError) Error() string { return fmt.Sprintf("%s %q does not exist", e.What, e.Name) }

// TooLargeError : the commit is larger than what the controller accepts.
type TooLargeError struct{ Msg string }

func (e *TooLargeError) Error() string { return e.Msg }

// UnavailableError : the server cannot be reached or answered with an error. Trying again may help.
type UnavailableError struct {
	Msg string
	Err error
}

func (e *UnavailableError) Error() string {
	if e.Err == nil {
		return e.Msg
	}
	return e.Msg + ": " + e.Err.Error()
}

func (e *UnavailableError) Unwrap() error { return e.Err }

// typed gives an error of go-git one of the types of this package.
func typed(ctx context.Context, req Request, err error) error {
	for _, known := range []any{new(*SpecError), new(*SecretError), new(*AuthError), new(*NotFoundError), new(*TooLargeError)} {
		if errors.As(err, known) {
			return err
		}
	}
	host := req.host()
	switch {
	case ctx.Err() != nil && errors.Is(context.Cause(ctx), context.DeadlineExceeded):
		return &UnavailableError{Msg: host + " did not answer within the timeout"}
	case errors.Is(err, transport.ErrAuthenticationRequired):
		if req.Credentials.empty() {
			return &AuthError{Msg: host + " asks for credentials, but spec.secretRef is not set (a repository that does not exist answers the same)"}
		}
		return &AuthError{Msg: host + " refused the credentials of the Secret"}
	case errors.Is(err, transport.ErrAuthorizationFailed):
		return &AuthError{Msg: host + " does not let these credentials read the repository"}
	case strings.Contains(err.Error(), "unable to authenticate"): // golang.org/x/crypto/ssh has no type for it
		return &AuthError{Msg: host + " refused the key `identity` of the Secret"}
	case errors.Is(err, transport.ErrRepositoryNotFound):
		return &NotFoundError{What: "repository", Name: req.URL}
	case errors.Is(err, transport.ErrEmptyRemoteRepository), errors.Is(err, plumbing.ErrReferenceNotFound), errors.Is(err, git.NoMatchingRefSpecError{}):
		return req.refNotFound()
	default:
		return &UnavailableError{Msg: "asking " + host, Err: steady(err)}
	}
}

// steady takes the local port, another one at each attempt, out of a network error, so that an outage is one condition and
// one event and not hundreds.
func steady(err error) error {
	if from := regexp.MustCompile(`[0-9A-Fa-f.:\[\]]+:[0-9]+->`); from.MatchString(err.Error()) {
		return errors.New(from.ReplaceAllString(err.Error(), ""))
	}
	return err
}
