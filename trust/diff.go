package trust

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"
)

// orderGap is the room left between neighbours, so that an object can be put
// between two others without touching either.
const orderGap = 1 << 20

// Difference is one object that a change would touch.
type Difference struct {
	Op     string          `json:"op"` // add, change, move, remove
	Object string          `json:"object"`
	Before json.RawMessage `json:"before,omitempty"`
	After  json.RawMessage `json:"after,omitempty"`
	Fields []FieldChange   `json:"fields,omitempty"`
}

// FieldChange is one member that differs, with its JSON before and after.
type FieldChange struct {
	Path   string `json:"path"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
}

// Plan works out the change that makes a whole state equal to the file, and how
// it differs for a reader. Objects keep their places where they can.
func Plan(st State, f *File) (Change, []Difference, error) {
	if st.Since != 0 {
		return Change{}, nil, errPartial
	}
	want, err := f.Objects()
	if err != nil {
		return Change{}, nil, err
	}
	have := make(map[Key]Object, len(st.Objects))
	for _, o := range st.Objects {
		have[o.Key] = o
	}
	place(want, have)
	change := Change{Base: st.Revision}
	var diffs []Difference
	keep := make(map[Key]bool, len(want))
	for _, o := range want {
		keep[o.Key] = true
		old, there := have[o.Key]
		switch {
		case !there:
			diffs = append(diffs, Difference{Op: "add", Object: o.Key.String(), After: o.Body})
			change.Put = append(change.Put, o)
		case old.Hash != o.Hash:
			diffs = append(diffs, Difference{Op: "change", Object: o.Key.String(), Before: old.Body, After: o.Body,
				Fields: fieldChanges(old.Body, o.Body)})
			change.Put = append(change.Put, o)
		case old.Order != o.Order:
			diffs = append(diffs, Difference{Op: "move", Object: o.Key.String()})
			change.Put = append(change.Put, o)
		}
	}
	for _, o := range st.Objects {
		if !keep[o.Key] {
			change.Remove = append(change.Remove, o.Key)
			diffs = append(diffs, Difference{Op: "remove", Object: o.Key.String(), Before: o.Body})
		}
	}
	return change, diffs, nil
}

// place gives the objects of each kind rising orders. As many as possible keep
// the one they have.
func place(want []Object, have map[Key]Object) {
	for start := 0; start < len(want); {
		end := start
		for end < len(want) && want[end].Kind == want[start].Kind {
			end++
		}
		placeKind(want[start:end], have)
		start = end
	}
}

func placeKind(want []Object, have map[Key]Object) {
	had := make([]int64, len(want)) // 0: not there, or nowhere that counts
	for i := range want {
		had[i] = max(0, have[want[i].Key].Order)
	}
	stays := inOrder(had)
	last := int64(0)
	for i := 0; i < len(want); {
		if stays[i] {
			last = had[i]
			want[i].Order = last
			i++
			continue
		}
		end := i
		for end < len(want) && !stays[end] {
			end++
		}
		// The run shares the room before the next object that stays.
		upTo := int64(math.MaxInt64)
		if end < len(want) {
			upTo = had[end]
		}
		step := min(orderGap, (upTo-last)/int64(end-i+1))
		if step == 0 {
			renumber(want)
			return
		}
		for ; i < end; i++ {
			last += step
			want[i].Order = last
		}
	}
}

func renumber(want []Object) {
	for i := range want {
		want[i].Order = int64(i+1) * orderGap
	}
}

// inOrder marks a longest selection of the orders above zero that rises, by
// patience sorting.
func inOrder(orders []int64) []bool {
	var piles []int // the place of what is on top of each pile
	before := make([]int, len(orders))
	for i, order := range orders {
		if order == 0 {
			continue
		}
		at, _ := slices.BinarySearchFunc(piles, order, func(top int, order int64) int {
			return cmp.Compare(orders[top], order)
		})
		before[i] = -1
		if at > 0 {
			before[i] = piles[at-1]
		}
		if at == len(piles) {
			piles = append(piles, i)
		} else {
			piles[at] = i
		}
	}
	stays := make([]bool, len(orders))
	if len(piles) == 0 {
		return stays
	}
	for i := piles[len(piles)-1]; i >= 0; i = before[i] {
		stays[i] = true
	}
	return stays
}

func fieldChanges(before, after []byte) []FieldChange {
	var b, a any
	if decodeAny(before, &b) != nil || decodeAny(after, &a) != nil {
		return nil
	}
	var out []FieldChange
	compareFields("", b, a, &out)
	return out
}

func decodeAny(body []byte, into *any) error {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	return dec.Decode(into)
}

func compareFields(path string, b, a any, out *[]FieldChange) {
	bm, bIs := b.(map[string]any)
	am, aIs := a.(map[string]any)
	if !bIs || !aIs {
		before, after := show(b), show(a)
		if before != after {
			*out = append(*out, FieldChange{Path: path, Before: before, After: after})
		}
		return
	}
	names := make([]string, 0, len(bm)+len(am))
	for k := range bm {
		names = append(names, k)
	}
	for k := range am {
		if _, both := bm[k]; !both {
			names = append(names, k)
		}
	}
	slices.Sort(names)
	for _, k := range names {
		at := k
		if path != "" {
			at = path + "." + k
		}
		compareFields(at, bm[k], am[k], out)
	}
}

func show(v any) string {
	if v == nil {
		return ""
	}
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(text)
}
