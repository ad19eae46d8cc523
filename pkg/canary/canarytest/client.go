// Package canarytest has an API server in memory for the tests of the controller's shells.
package canarytest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router/routertest"
)

// NewClient returns routertest's client, taught what the controller depends on of a real API server: uids, generations of
// Deployments, and an apply of a part of a Deployment, from which controller-runtime's fake makes an apply of a whole one.
func NewClient(t routertest.TB, objects ...client.Object) client.WithWatch {
	t.Helper()
	var last atomic.Int64
	for _, obj := range objects {
		identify(obj, &last)
	}
	return interceptor.NewClient(routertest.NewClient(t, objects...), interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.CreateOption) error {
			identify(obj, &last)
			return c.Create(ctx, obj, opts...)
		},
		Update: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.UpdateOption) error {
			if d, ok := obj.(*appsv1.Deployment); ok {
				var before appsv1.Deployment
				if err := c.Get(ctx, client.ObjectKeyFromObject(d), &before); err == nil {
					count(&before, d)
				}
			}
			return c.Update(ctx, obj, opts...)
		},
		Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, p client.Patch, opts ...client.PatchOption) error {
			d, ok := obj.(*appsv1.Deployment)
			if !ok || p.Type() != types.ApplyPatchType {
				return c.Patch(ctx, obj, p, opts...)
			}
			return applyDeployment(ctx, c, d, p, &last, opts...)
		},
	})
}

func identify(obj client.Object, last *atomic.Int64) {
	if obj.GetUID() == "" {
		obj.SetUID(types.UID(fmt.Sprintf("uid-%d", last.Add(1))))
	}
	if _, ok := obj.(*appsv1.Deployment); ok && obj.GetGeneration() == 0 {
		obj.SetGeneration(1)
	}
}

// count raises the generation if the spec changes.
func count(before, after *appsv1.Deployment) {
	after.Generation = before.Generation
	if !equality.Semantic.DeepEqual(before.Spec, after.Spec) {
		after.Generation++
	}
}

func applyDeployment(ctx context.Context, c client.WithWatch, d *appsv1.Deployment, p client.Patch, last *atomic.Int64, opts ...client.PatchOption) error {
	var before appsv1.Deployment
	err := c.Get(ctx, client.ObjectKeyFromObject(d), &before)
	if client.IgnoreNotFound(err) != nil {
		return err
	}
	data, err := p.Data(d)
	if err != nil {
		return err
	}
	var sent appsv1.Deployment
	if err := json.Unmarshal(data, &sent); err != nil {
		return err
	}
	if sent.UID != "" && sent.UID != before.UID {
		return apierrors.NewConflict(appsv1.Resource("deployments"), d.Name, errors.New("the uid is another object's"))
	}
	if sent.Spec.Selector == nil {
		return applyPart(ctx, c, &before, &sent, d)
	}
	if err := c.Patch(ctx, d, p, opts...); err != nil {
		return err
	}
	identify(d, last)
	count(&before, d)
	return c.Update(ctx, d)
}

// applyPart applies size and annotations; those of Siskin that are not sent go.
func applyPart(ctx context.Context, c client.WithWatch, before, sent, out *appsv1.Deployment) error {
	d := before.DeepCopy()
	d.Spec.Replicas = sent.Spec.Replicas
	for _, key := range []string{siskinv1.HeldAnnotation, siskinv1.ReplicasAnnotation} {
		delete(d.Annotations, key)
	}
	for key, value := range sent.Annotations {
		if d.Annotations == nil {
			d.Annotations = map[string]string{}
		}
		d.Annotations[key] = value
	}
	count(before, d)
	if err := c.Update(ctx, d); err != nil {
		return err
	}
	d.DeepCopyInto(out)
	return nil
}
