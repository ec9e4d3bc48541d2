"""Words that may stand before a parenthesis in SQL, by what calling them leaves behind.

A function that is in none of these sets may do anything, as those of extensions and of users may.
"""

from __future__ import annotations

from typing import Final


def words(text: str) -> frozenset[str]:
    """The words of a text, for tables such as these."""
    return frozenset(text.split())


# Words that stand before a parenthesis and are no functions.
SYNTAX: Final = words(
    """all and any array as between bit by case char character check conflict cross cube decimal delete distinct do else
    end except exists filter float from full group grouping having in inner insert intersect interval into is join key
    lateral left like ilike limit materialized nchar not null numeric offset on only or order outer over overlaps
    partition range recursive returning right rollup row rows select set sets similar some then time timestamp
    timestamptz timetz to union update using values varbit varchar varying when where window with within"""
)
# PostgreSQL's own functions that neither change anything nor are slow on purpose: PostgreSQL 18, chapter 9.
_FUNCTIONS: Final = words(
    """abs acos age any_value array_agg array_append array_cat array_dims array_fill array_length array_lower
    array_ndims array_position array_positions array_prepend array_remove array_replace array_reverse array_sample
    array_shuffle array_sort array_to_json array_to_string array_upper asin atan atan2 avg bit_and bit_count bit_length
    bit_or bit_xor bool_and bool_or btrim cardinality cast cbrt ceil ceiling char_length character_length
    clock_timestamp coalesce concat concat_ws convert_from convert_to corr cos count covar_pop covar_samp crc32 crc32c
    cume_dist current_database current_schema current_schemas current_setting current_user date date_add date_bin
    date_part date_subtract date_trunc decode degrees dense_rank div encode every exp extract factorial first_value
    floor format format_type gcd gen_random_uuid generate_series generate_subscripts greatest hashtext initcap isempty
    isfinite json_agg json_agg_strict json_array json_array_elements json_array_elements_text json_array_length
    json_arrayagg json_build_array json_build_object json_each json_each_text json_exists json_extract_path
    json_extract_path_text json_object json_object_agg json_object_keys json_objectagg json_populate_record
    json_populate_recordset json_query json_scalar json_serialize json_strip_nulls json_table json_to_record
    json_to_recordset json_typeof json_value jsonb_agg jsonb_agg_strict jsonb_array_elements jsonb_array_elements_text
    jsonb_array_length jsonb_build_array jsonb_build_object jsonb_each jsonb_each_text jsonb_extract_path
    jsonb_extract_path_text jsonb_insert jsonb_object jsonb_object_agg jsonb_object_keys jsonb_path_exists
    jsonb_path_match jsonb_path_query jsonb_path_query_array jsonb_path_query_first jsonb_populate_record
    jsonb_populate_recordset jsonb_pretty jsonb_set jsonb_set_lax jsonb_strip_nulls jsonb_to_record jsonb_to_recordset
    jsonb_typeof justify_days justify_hours justify_interval lag last_value lcm lead least length ln log log10 lower
    lower_inc lower_inf lpad ltrim make_date make_interval make_time make_timestamp make_timestamptz max md5 min
    min_scale mod mode multirange normalize now nth_value ntile nullif num_nonnulls num_nulls numnode octet_length
    overlay percent_rank percentile_cont percentile_disc phraseto_tsquery pi plainto_tsquery position power
    quote_ident quote_literal quote_nullable radians random range_agg range_merge rank regexp_count regexp_instr
    regexp_like regexp_match regexp_matches regexp_replace regexp_split_to_array regexp_split_to_table regexp_substr
    regr_count regr_intercept regr_r2 regr_slope repeat replace reverse round row_number row_to_json rpad rtrim scale
    setweight sha224 sha256 sha384 sha512 sign sin split_part sqrt starts_with statement_timestamp stddev stddev_pop
    stddev_samp string_agg string_to_array string_to_table strip strpos substr substring sum tan text timeofday
    to_char to_date to_hex to_json to_jsonb to_number to_timestamp to_tsquery to_tsvector transaction_timestamp
    translate trim trim_array trim_scale trunc ts_headline ts_rank ts_rank_cd tsrange tstzrange daterange int4range
    int8range numrange unaccent unnest upper upper_inc upper_inf uuid_extract_timestamp uuid_extract_version uuidv4
    uuidv7 var_pop var_samp variance version websearch_to_tsquery width_bucket xmlagg"""
)
PURE: Final = SYNTAX | _FUNCTIONS
# These change data or end with their transaction, and leave the session as it was.
KEEPING: Final = PURE | words(
    """currval lastval nextval setval pg_notify pg_advisory_xact_lock pg_advisory_xact_lock_shared
    pg_try_advisory_xact_lock pg_try_advisory_xact_lock_shared merge_action pg_sleep"""
)
