package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

var errOutside = errors.New("this controller does not watch that namespace (--namespace)")

// scoped is a client whose reads from the caches answer "forbidden" for what this controller is not to see: other namespaces than
// those of --namespace, and cluster-scoped kinds that its role does not let it watch. The caches would answer the first with an
// error of no type, and wait for the second until the pass is over.
type scoped struct {
	client.Client

	namespaces []string // none: all

	mu      sync.Mutex
	allowed map[schema.GroupKind]bool // of cluster-scoped kinds
}

func newScoped(c client.Client, namespaces []string) *scoped {
	return &scoped{Client: c, namespaces: namespaces, allowed: map[schema.GroupKind]bool{}}
}

// Get implements client.Reader. Errors: those of the cache, and forbidden.
func (s *scoped) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	gvk, err := s.GroupVersionKindFor(obj)
	if err != nil {
		return fmt.Errorf("finding the kind of %T: %w", obj, err)
	}
	if key.Namespace == "" {
		err = s.cluster(ctx, gvk, key.Name)
	} else {
		err = s.within(gvk.GroupKind(), key)
	}
	if err != nil {
		return err
	}
	return s.Client.Get(ctx, key, obj, opts...)
}

// within refuses namespaces that are not watched.
func (s *scoped) within(kind schema.GroupKind, key client.ObjectKey) error {
	if len(s.namespaces) == 0 || slices.Contains(s.namespaces, key.Namespace) {
		return nil
	}
	return apierrors.NewForbidden(schema.GroupResource{Group: kind.Group, Resource: kind.Kind}, key.String(), errOutside)
}

// cluster refuses cluster-scoped kinds that may not be watched. Whether they may is asked once: who gives the right restarts Siskin.
func (s *scoped) cluster(ctx context.Context, gvk schema.GroupVersionKind, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	kind := gvk.GroupKind()
	ok, known := s.allowed[kind]
	if !known {
		mapping, err := s.RESTMapper().RESTMapping(kind, gvk.Version)
		if err != nil {
			return fmt.Errorf("looking up %s: %w", kind, err)
		}
		if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
			return nil
		}
		if ok, err = s.ask(ctx, mapping.Resource); err != nil {
			return err
		}
		s.allowed[kind] = ok
	}
	if !ok {
		return apierrors.NewForbidden(schema.GroupResource{Group: kind.Group, Resource: kind.Kind}, name,
			errors.New("this controller has no right to watch it"))
	}
	return nil
}

// ask asks the API server whether a kind may be watched.
func (s *scoped) ask(ctx context.Context, r schema.GroupVersionResource) (bool, error) {
	for _, verb := range []string{"get", "list", "watch"} {
		review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
			ResourceAttributes: &authorizationv1.ResourceAttributes{Group: r.Group, Resource: r.Resource, Verb: verb},
		}}
		if err := s.Create(ctx, review, client.DisableReadYourWritesConsistency); err != nil {
			return false, fmt.Errorf("asking for the right to %s %s: %w", verb, r.Resource, err)
		}
		if !review.Status.Allowed {
			return false, nil
		}
	}
	return true, nil
}
