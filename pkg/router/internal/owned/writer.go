package owned

import (
	"context"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// writerTimeout bounds the read that finds out who wrote: a name in a message holds nothing up.
const writerTimeout = 2 * time.Second

// Writer returns the field manager other than Siskin that wrote a field of an object's spec last, or "" if that cannot be told. The field
// is one that has one owner as a whole, such as "rules". It asks the API server, because caches do not keep the managers; it is asked
// once per foreign write.
func Writer(ctx context.Context, live client.Reader, cached client.Object, field string) string {
	obj, ok := cached.DeepCopyObject().(client.Object)
	if live == nil || !ok {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, writerTimeout)
	defer cancel()
	if err := live.Get(ctx, client.ObjectKeyFromObject(cached), obj); err != nil {
		return ""
	}
	last := metav1.ManagedFieldsEntry{}
	for _, e := range obj.GetManagedFields() {
		wrote := e.FieldsV1 != nil && strings.Contains(e.FieldsV1.GetRawString(), `"f:`+field+`"`)
		if !wrote || e.Manager == siskinv1.FieldManager || e.Subresource != "" {
			continue
		}
		if last.Manager == "" || e.Time != nil && last.Time.Before(e.Time) {
			last = e
		}
	}
	return last.Manager
}
