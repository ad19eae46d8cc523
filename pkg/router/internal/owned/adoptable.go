package owned

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
)

// nameField is the field of a Canary that names what it adopts.
const nameField = "spec.service.name"

// Candidate is an object that somebody else made and that a Canary is to route by.
type Candidate struct {
	metav1.Object
	// Kind of the object and Router that wants it, for people.
	Kind, Router string
	// Holder is the Canary that has adopted it; "": none has.
	Holder string
	// ApexOf is the name of what a Canary routes by.
	ApexOf func(*siskinv1.Canary) string
}

// Adoptable refuses, as a *router.InvalidError, an object whose author does not want it adopted, that a controller writes
// anew, or that another Canary has.
func (o Candidate) Adoptable(ctx context.Context, c client.Reader, canary *siskinv1.Canary) error {
	if err := o.OptedOut(); err != nil {
		return err
	}
	if ref := metav1.GetControllerOf(o); ref != nil {
		return o.Refuse("exists and is kept by %s %s, which would write it anew: rename or delete it, or choose another "+nameField,
			ref.Kind, ref.Name)
	}
	return o.Taken(ctx, c, canary)
}

// OptedOut refuses an object whose author does not want it adopted.
func (o Candidate) OptedOut() error {
	if o.GetAnnotations()[siskinv1.AdoptAnnotation] != "disabled" {
		return nil
	}
	return o.Refuse("has the annotation %s: disabled: remove it, or choose another "+nameField, siskinv1.AdoptAnnotation)
}

// Taken refuses an object that another Canary routes by. One that has it for another reason, or that is gone, leaves it.
func (o Candidate) Taken(ctx context.Context, c client.Reader, canary *siskinv1.Canary) error {
	if o.Holder == "" || o.Holder == canary.Name {
		return nil
	}
	var other siskinv1.Canary
	err := c.Get(ctx, client.ObjectKey{Namespace: o.GetNamespace(), Name: o.Holder}, &other)
	switch {
	case apierrors.IsNotFound(err): // it was orphaned, and is taken over
		return nil
	case err != nil:
		return fmt.Errorf("reading Canary %s/%s: %w", o.GetNamespace(), o.Holder, err)
	case o.ApexOf(&other) != o.GetName():
		return nil
	}
	return o.Refuse("carries the traffic of Canary %s: one %s can serve one Canary, choose another "+nameField, o.Holder, o.Kind)
}

// Refuse tells what is wrong with the object: format goes on after its name.
func (o Candidate) Refuse(format string, args ...any) error {
	return &router.InvalidError{
		Router: o.Router, Field: nameField, Message: fmt.Sprintf("%s %s %s", o.Kind, o.GetName(), fmt.Sprintf(format, args...)),
	}
}
