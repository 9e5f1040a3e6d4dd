package config

import (
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// The shape of a file is that of the section types: the decoder and the schema
// both read their fields and the tags of these, so they cannot disagree.
//
//	key      the key in the file; the name of the field otherwise, its first
//	         letter lower-cased; "-" for none
//	doc      what it is, for the schema
//	default  what holds without it, for the schema and explain
//	min max  the range of a number or a duration
//	above    the range, without its end
//	none     what the word "none" stands for, where a duration may be switched off
//	zero     what a 0 in the file stands for, where 0 in Go is the default
//	enum     the words that are allowed, with commas
//	pattern  what a text must look like, for the schema only
//	lines    the text may have several lines
//	need     the key must be there

// A field is one key of a section.
type field struct {
	name  string // in Go, which is that of the setting in package transport
	key   string
	index []int
	typ   reflect.Type
	tag   reflect.StructTag
}

// rule is a tag of the field.
func (f *field) rule(name string) string { return f.tag.Get(name) }

// enum are the words that are allowed, nil for any.
func (f *field) enum() []string {
	if list := f.rule("enum"); list != "" {
		return strings.Split(list, ",")
	}
	return nil
}

// fieldsOf are the keys of a section, those of embedded sections among them.
func fieldsOf(t reflect.Type) []field {
	var list []field
	tags := foreign(t)
	for i := range t.NumField() {
		f := t.Field(i)
		if tags != nil {
			f.Tag = tags(f.Name)
		}
		if f.Anonymous {
			for _, inner := range fieldsOf(f.Type) {
				inner.index = append([]int{i}, inner.index...)
				list = append(list, inner)
			}
			continue
		}
		if !f.IsExported() {
			continue // notes of a section that decodes itself
		}
		key := f.Tag.Get("key")
		if key == "" {
			key = lowerFirst(f.Name)
		}
		if key != "-" {
			list = append(list, field{name: f.Name, key: key, index: []int{i}, typ: f.Type, tag: f.Tag})
		}
	}
	return list
}

// lowerFirst is the key of a field by default.
func lowerFirst(s string) string {
	r := []rune(s)
	r[0] = unicode.ToLower(r[0])
	return string(r)
}

// durationType is told from the numbers, as it is written with a unit.
var durationType = reflect.TypeFor[time.Duration]()

// want says what the range of the field is, in words.
func (f *field) want() string {
	var want string
	least, above, most := f.rule("min"), f.rule("above"), f.rule("max")
	switch {
	case above != "" && most != "":
		want = "above " + above + ", up to " + most
	case above != "":
		want = "above " + above
	case least != "" && most != "":
		want = least + " to " + most
	case least != "":
		want = least + " or more"
	case most != "":
		want = "up to " + most
	}
	if f.rule("none") != "" {
		want += ", or none"
	}
	if least, err := strconv.ParseFloat(least, 64); f.rule("zero") != "" && err == nil && least > 0 {
		want += ", or 0"
	}
	return strings.TrimPrefix(want, ", or ")
}
